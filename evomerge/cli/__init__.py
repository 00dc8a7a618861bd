"""The command line: each command is parsing plus one call, in a file of its own.

Commands are imported when they are asked for, so that `--help` and `status` stay quick.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from evomerge import __version__
from evomerge.domain.errors import EvomergeError

COMMANDS = {
    "doctor": "what would go wrong later, told before anything is downloaded",
    "plan": "what a run will ask for: downloads, merges, disk, hours, cost",
    "run": "evolve the models of a config; an unfinished run is resumed",
    "resume": "go on with an interrupted run",
    "status": "where a run stands",
    "watch": "follow a run from another terminal",
    "list": "all runs of a runs folder",
    "tree": "the lineage of a model",
    "show": "one model's whole story",
    "compare": "several runs side by side",
    "gain": "is the gain real, or chance?",
    "report": "a run as one page: figures, family tree, all models",
    "analyze": "does kinship tell what a merge brings?",
    "kinship": "how alike models changed from their base",
    "simulate": "compare strategies on imagined models, before paying",
    "replay": "what a strategy would choose on recorded scores",
    "digest": "the decision digest of a run",
    "verify": "check every byte of a run",
    "export": "a model as a folder for others, with its model card",
    "rebuild": "make pruned weights again",
    "gc": "free what no run refers to",
    "validate": "check a config",
    "slurm": "a batch script that queues itself again and goes on",
    "init": "write a commented config to start from",
    "schema": "the JSON Schema of configs",
    "completion": "what a shell needs to complete commands and options",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a newcomer's path."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None if there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"evomerge.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for a typo."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if not near:
                raise
            message = f"{error.message} Did you mean {near[0]!r}?"
            raise click.UsageError(message, ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands by their names, which must not wait for imports, then the options."""
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        items = [CompletionItem(name, help=COMMANDS[name]) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="evomerge")
def cli() -> None:
    """Evolve large language models by merging them, generation after generation."""


def main() -> None:
    """The console script; exits with the codes of `evomerge.domain.errors`."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except EvomergeError as error:
        click.echo(f"evomerge: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Abort:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.filename is None:
            raise  # no file of the user's is at fault
        click.echo(f"evomerge: {error.filename}: {error.strerror}", err=True)
        sys.exit(3)
