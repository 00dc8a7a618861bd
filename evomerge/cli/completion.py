"""`evomerge completion`: the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script with which SHELL completes commands, options and files.

    \b
    bash: eval "$(evomerge completion bash)"        in ~/.bashrc
    zsh:  eval "$(evomerge completion zsh)"         in ~/.zshrc
    fish: evomerge completion fish | source         in ~/.config/fish/config.fish
    """
    from evomerge.cli import cli

    completion = get_completion_class(shell)
    if completion is None:  # pragma: no cover - click knows the three
        raise click.UsageError(f"click has no completion for {shell}")
    # click derives the name of this variable from the name of the program
    click.echo(completion(cli, {}, "evomerge", "_EVOMERGE_COMPLETE").source())
