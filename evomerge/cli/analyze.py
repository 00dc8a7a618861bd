"""`evomerge analyze`: correlations of kinship and merge gain, and the stages of a search."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from evomerge.analysis.series import COLUMNS, Series, series_of, together
from evomerge.analysis.stages import RULE
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import ConfigError, Problem
from evomerge.store.run_directory import find_run


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="RUN… | FILE.csv | FILE.json")
@runs_dir_option
@json_option
def command(sources: tuple[str, ...], runs_dir: Path, as_json: bool) -> None:
    """Correlate kinship with merge gain, and with its size, over runs or tables of merges.

    A CSV file has a column `gain` and one or more of kinship, pcc, cosine (cs), euclidean (ed);
    with `generation` and `score` (atp) the stages are shown too. A JSON file maps names to such
    tables (lists of objects), as the paper's evolution paths do. plots/kinship-gain.csv of a
    report has the right format.

    \b
    JSON output: {"format": 1, "rule": text, "series": [{"name", "merges", "kinship":
      {metric: {"gain": C, "abs_gain": C}}, "stages": {"learning", "saturation", "why"} | null}]},
      C = {"n", "r", "p", "rho", "rho_p", "low", "high"}: Pearson's r with its 95 % bootstrap
      interval and p, Spearman's rho and p; null where not defined.
    """
    found = [series for source in sources for series in _read(source, runs_dir)]
    if len(found) > 1:
        found.append(together(found))
    if as_json:
        click.echo(json.dumps(as_document(found), ensure_ascii=False))
        return
    from evomerge.terminal.correlations import analysis_view
    from evomerge.terminal.screen import stdout_console

    stdout_console().print(analysis_view(found))


def as_document(found: list[Series]) -> dict[str, Any]:
    """The output of `evomerge analyze --json`."""
    return {"format": 1, "rule": RULE, "series": [_document(series) for series in found]}


def _document(series: Series) -> dict[str, Any]:
    kinship = {}
    for metric in series.metrics:
        plain, absolute = series.correlations(metric)
        kinship[metric] = {"gain": asdict(plain), "abs_gain": asdict(absolute)}
    return {
        "name": series.name,
        "merges": len(series.rows),
        "kinship": kinship,
        "stages": series.stages and asdict(series.stages),
    }


def _read(source: str, runs_dir: Path) -> list[Series]:
    """The series of merges of a run or a file.

    Raises:
        ConfigError: the file holds no table of merges; says where and why.
        UsageError: there is no such run.
    """
    path = Path(source)
    if path.suffix not in {".csv", ".json"} or not path.is_file():
        from evomerge.analysis.merges import series_of_run
        from evomerge.report.reading import read_state

        run = find_run(source, runs_dir)
        state, recorded = read_state(run)
        return [series_of_run(run.name, state, recorded.assumed_parents if recorded else ())]
    try:
        tables = _tables(path)
        found = [series_of(name, rows) for name, rows in tables.items()]
    except (ValueError, csv.Error) as error:
        raise ConfigError([Problem(str(path), "", str(error))]) from error
    if not found:
        raise ConfigError(
            [Problem(str(path), "", f"no table with gain and {' or '.join(COLUMNS)}")]
        )
    return found


def _tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The tables of merges in a file, by name."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return {path.stem: list(csv.DictReader(text.splitlines()))}
    content = json.loads(text)
    if isinstance(content, list):
        content = {path.stem: content}
    if not isinstance(content, dict):
        raise ValueError("expected tables of merges by name")  # noqa: TRY004 - of a file
    return {
        str(name): rows
        for name, rows in content.items()
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    }
