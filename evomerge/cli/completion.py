"""`evomerge completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and files.

    \b
    bash: eval "$(evomerge completion bash)"        in ~/.bashrc
    zsh:  eval "$(evomerge completion zsh)"         in ~/.zshrc
    fish: evomerge completion fish | source         in ~/.config/fish/config.fish
    """
    from evomerge.cli import cli

    completion = get_completion_class(shell)
    if completion is None:  # pragma: no cover - click knows the three
        raise click.UsageError(f"click completes nothing in {shell}")
    # The name of the variable is the one that click derives from the program's.
    click.echo(completion(cli, {}, "evomerge", "_EVOMERGE_COMPLETE").source())
