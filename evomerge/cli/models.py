"""`evomerge models`: all models of a run as a table."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evomerge.analysis.models import COLUMNS
from evomerge.api.results import Run
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import UsageError
from evomerge.store.run_directory import find_run
from evomerge.terminal.columns import Column, Fitted, numbers, words
from evomerge.terminal.figures import MISSING
from evomerge.terminal.screen import stdout_console

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = ("model", "generation", "kind", "score", "gain", "kinship", "parents")


@click.command()
@click.argument("run")
@runs_dir_option
@click.option("--columns", metavar="A,B,…", help="Only these columns, in this order.")
@click.option("--sort", metavar="COLUMN", help="By a column, -COLUMN for the largest first.")
@click.option("--where", metavar="EXPRESSION", help="Only rows for which this holds.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV on stdout.")
@click.option(
    "--parquet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a Parquet file.",
)
@json_option
def command(
    run: str,
    runs_dir: Path,
    columns: str | None,
    sort: str | None,
    where: str | None,
    form: str | None,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """List all models of RUN, one row each, with everything that is known of them.

    EXPRESSION is one of pandas' DataFrame.query, with backticks around names that are not plain
    words: --where 'generation > 0 and score > 60 and `gsm8k kept` > 0.9'.

    \b
    JSON output: {"format": 1, "models": [{column: value}]}. Columns: model, generation, kind,
    parents, status, rank, score, stderr, perplexity (of the guard), gain (over the parents),
    gain_over_foundation, held_out, final, kinship (of the parents), method, weights, density,
    merge_seconds, evaluation_seconds, merged_on and scored_on (hosts of a cluster), reused,
    in_pool, reason, content_id; for each task TASK, "TASK stderr", "TASK kept" (share of the best
    foundation model's score), "TASK held_out" or "TASK final".
    """
    table = Run(find_run(run, runs_dir).path).models()
    if where is not None:
        table = _where(table, where)
    if sort is not None:
        name = _column(sort.removeprefix("-"), table)
        table = table.sort_values(name, ascending=not sort.startswith("-"), kind="stable")
    if columns is not None:
        table = table[[_column(name.strip(), table) for name in columns.split(",")]]
    if parquet is not None:
        table.to_parquet(parquet, index=False)
        click.echo(f"wrote {parquet}: {len(table)} models", err=True)
    elif as_json:
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        click.echo(json.dumps({"format": 1, "models": rows}, ensure_ascii=False))
    elif form == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    else:
        stdout_console().print(_as_text(table, all_columns=columns is not None))


def _where(table: pd.DataFrame, expression: str) -> pd.DataFrame:
    try:
        return table.query(expression, engine="python")
    except Exception as error:  # pandas raises whatever the expression does
        example = "write for example --where 'generation > 0 and score > 60'"
        raise UsageError(f"--where {expression!r}: {error}", example) from None


def _column(name: str, table: pd.DataFrame) -> str:
    if name in table.columns:
        return name
    near = difflib.get_close_matches(name, table.columns, n=1)
    known = f"columns: {', '.join(table.columns)}"
    raise UsageError(f"no column {name!r}", f"did you mean {near[0]!r}?" if near else known)


def _as_text(table: pd.DataFrame, *, all_columns: bool) -> Fitted:
    """The table for a terminal: all columns, or the usual ones and the tasks, as many as fit."""
    if all_columns:
        return Fitted([_cells(name, table) for name in table.columns])
    tasks = [name for name in table.columns if name not in COLUMNS and " " not in name]
    shown = [*_SHOWN]
    if table["perplexity"].notna().any():
        shown[4:4] = ["perplexity", "status"]
    *few, parents = (_cells(name, table) for name in shown)
    scores = [_cells(name, table) for name in tasks]
    return Fitted([*few, *scores, parents], [*few, parents], few)


def _cells(name: str, table: pd.DataFrame) -> Column:
    values = [None if value != value else value for value in table[name].tolist()]  # noqa: PLR0124
    texts = [_text(value) for value in values]
    known = [value for value in values if value is not None]
    is_number = all(isinstance(value, int | float) for value in known)
    return numbers(name, texts) if known and is_number else words(name, texts)


def _text(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    return str(value)
