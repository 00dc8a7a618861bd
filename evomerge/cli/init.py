"""`evomerge init`: write a commented config to start from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from evomerge.api.template import AIMS, EXAMPLE_TASKS, template
from evomerge.domain.errors import UsageError

_FILES = (".yaml", ".yml")


class _Command(click.Command):
    """Lets `--from` take several words: up to the next option, or the file to write."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [*_repeated(args)])


def _repeated(args: Sequence[str]) -> Iterator[str]:
    """`--from A B` as `--from A --from B`, which click understands."""
    taking, given = False, True
    for word in args:
        if word.startswith("-") or word.endswith(_FILES):
            taking = given = word == "--from"
        elif taking and not given:
            yield "--from"
        given = taking and word == "--from"
        yield word


@click.command("init", cls=_Command)
@click.argument("path", type=click.Path(path_type=Path), default=Path("evomerge.yaml"))
@click.option("--aim", type=click.Choice(AIMS), default="best", show_default=True,
              help="The best model for its budget, or the paper's experiment.")  # fmt: skip
@click.option("--from", "models", multiple=True, metavar="MODEL MODEL …",
              help="Fill the config in for these models: hub ids or folders.")  # fmt: skip
@click.option("--base", metavar="MODEL", help="Their base; default: what their cards name.")
@click.option("--task", "tasks", multiple=True, metavar="TASK",
              help="A task: lm-eval's name, or a task file. May be repeated.")  # fmt: skip
@click.option("--quick", is_flag=True, help="A first run of minutes: few items, a small budget.")
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
def command(
    path: Path,
    aim: str,
    models: tuple[str, ...],
    base: str | None,
    tasks: tuple[str, ...],
    quick: bool,
    force: bool,
) -> None:
    """Write a commented config to start from (default: evomerge.yaml).

    With --from it is filled in: base, dtype, vocabularies, method and strategy by what the models'
    cards, configs and file headers say. No weights are downloaded.
    """
    if not models and (base or tasks or quick):
        raise UsageError("--base, --task and --quick go with --from", "add --from MODEL MODEL")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", "choose another name, or pass --force")
    text = _filled(path, aim, models, base, tasks, quick) if models else template(aim)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {path}; check it with `evomerge validate {path}`")


def _filled(
    path: Path, aim: str, models: Sequence[str], base: str | None, tasks: Sequence[str], quick: bool
) -> str:
    from evomerge.api.starting import FULL, QUICK, started
    from evomerge.api.tasks import task_named

    scale = QUICK if quick else FULL
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-")[:50] or "my-run"
    name = f"{stem}-quick" if quick else stem
    known = [task_named(each) for each in tasks or EXAMPLE_TASKS]
    text, findings = started(models, base, known, aim, name, scale)
    for each in findings:
        mark = "warning: " if each.severity == "warning" else ""
        click.echo(f"{mark}{each}", err=True)
    if not tasks:
        click.echo(f"tasks: {' and '.join(EXAMPLE_TASKS)}, as an example; --task names yours")
    return text
