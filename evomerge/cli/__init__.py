"""The command line: one module per command, which parses arguments and makes one call.

Commands are imported on use, so that `--help` and `status` stay fast.
"""

from __future__ import annotations

import os
import sys
from gc import set_threshold  # `evomerge.cli.gc` is a command
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from evomerge import __version__
from evomerge.domain.errors import EvomergeError

COMMANDS = {
    "doctor": "check machine, models and tasks before anything is downloaded",
    "plan": "estimate downloads, merges, disk, hours and cost of a run",
    "run": "evolve the models of a config; an unfinished run is resumed",
    "resume": "resume an interrupted run",
    "status": "show progress, best model and pool of a run",
    "watch": "follow a run from another terminal",
    "list": "list all runs of a runs folder",
    "models": "list all models of a run, also as CSV, JSON or Parquet",
    "tree": "draw the lineage of a model",
    "show": "show details of one model",
    "compare": "compare several runs",
    "gain": "test whether gains are statistically significant",
    "ui": "show all runs in a browser, also while they go on",
    "report": "write a run as one page: figures, lineage, all models",
    "analyze": "correlate kinship with merge gain",
    "kinship": "measure how similarly models changed from their base",
    "simulate": "compare strategies on synthetic models, before paying",
    "replay": "replay a strategy over recorded scores",
    "digest": "print the decision digest of a run",
    "verify": "check every byte of a run",
    "export": "write a model as a Hugging Face folder with its model card",
    "rebuild": "recreate pruned weights",
    "bundle": "write a run to one file",
    "unbundle": "unpack a run from a bundle",
    "rename": "give a run another name",
    "rm": "show what removing a run frees, then remove it",
    "gc": "delete artefacts that no run needs",
    "validate": "check a config",
    "slurm": "print a batch script that requeues and resumes itself",
    "init": "write a commented config to start from",
    "task": "write a task over your own data, checked by lm-eval",
    "schema": "print the JSON Schema of configs",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which a new user needs them."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None if no command has this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"evomerge.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, and suggest the closest name for a typo."""
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
        """Complete commands from their names, without imports, then options."""
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


def collect_rarely() -> None:
    """Run the cyclic garbage collector a hundred times less often.

    The events of thousands of children are millions of values without cycles, and collections took
    most of the time of reading a run.
    """
    set_threshold(70_000, 10, 10)


def main() -> None:
    """The console script; exits with the exit codes of `evomerge.domain.errors`."""
    collect_rarely()
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
        # Broken pipe (`| head`); Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.filename is None:
            raise  # not caused by a file of the user
        click.echo(f"evomerge: {error.filename}: {error.strerror}", err=True)
        sys.exit(3)
