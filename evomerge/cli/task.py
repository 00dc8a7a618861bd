"""`evomerge task`: tasks over one's own data."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.domain.errors import UsageError

_SHOWN, _WIDEST = 3, 600


@click.group("task")
def command() -> None:
    """Tasks over your own data."""


@command.command("new")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--prompt", metavar="COLUMN", help="What the model is given.")
@click.option("--answer", metavar="COLUMN",
              help="Right answers; with --choices the text or its place, from 0.")  # fmt: skip
@click.option("--choices", metavar="COLUMN",
              help="Lists of texts to choose from; default: the answer is generated.")  # fmt: skip
@click.option("--metric", help="lm-eval's metric; default: acc with choices, else exact_match.")
@click.option("--name", help="Of the task; default: that of the data.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="The task file; default: beside the data.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
def new(
    data: Path,
    prompt: str | None,
    answer: str | None,
    choices: str | None,
    metric: str | None,
    name: str | None,
    output: Path | None,
    force: bool,
) -> None:
    """Write an lm-eval task over DATA (.jsonl or .csv), and show three prompts with targets.

    lm-eval loads the task before it is written. Columns of usual names (prompt, question, answer,
    target, choices …) need not be named.
    """
    from evomerge.adapters.lm_eval.own_task import Columns, guessed_columns, read_rows
    from evomerge.api.tasks import new_task

    rows = read_rows(data)
    if prompt is None or answer is None:
        guess = guessed_columns(data, rows, prompt, answer)
        prompt, answer, choices = guess.prompt, guess.answer, choices or guess.choices
    path = output / f"{data.stem}.yaml" if output and output.is_dir() else output
    task = new_task(data, rows, Columns(prompt, answer, choices), metric, path, name)
    if task.path.exists() and not force:
        raise UsageError(f"{task.path} exists", "choose another file with -o, or pass --force")
    click.echo("lm-eval loads it …", err=True)
    examples = task.examples(_SHOWN)
    task.write()
    for number, each in enumerate(examples, 1):
        click.echo(f"--- prompt {number}\n{_cut(each.prompt)}\n--- target\n{_cut(each.target)}")
    click.echo(f"\nwrote {task.path}: {task.count} items, {task.metric}; in a config:\n")
    click.echo(f"evaluation:\n  include: [{task.path.parent}]")
    click.echo(f"  tasks:\n    - {{name: {task.name}, metric: {task.metric}}}")


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]} … ({len(text):,} characters)"
