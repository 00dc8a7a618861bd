"""`evomerge kinship`: kinship of given models, or of the models of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from evomerge.adapters.kinship import KinshipTables
from evomerge.api.measuring import KinshipSubject, given, measured, of_run
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import UsageError
from evomerge.domain.kinship import Metric
from evomerge.domain.state import fold
from evomerge.store.atomic import write_atomic
from evomerge.store.recorded import find_own_run
from evomerge.terminal.screen import stdout_console

METRICS = tuple(str(metric) for metric in Metric)
PARITY_METRICS = ("pcc", "cosine_abs", "euclidean")


@dataclass(frozen=True)
class Measurement:
    """The options that determine which numbers are computed."""

    metrics: tuple[str, ...]
    by: Literal["layer", "kind", "tensor"] | None
    exclude: tuple[str, ...]
    split: bool
    parity: bool
    exact: bool

    def check(self, of_a_run: bool) -> None:
        """Check that the options are compatible; raises UsageError."""
        if self.exact and not of_a_run:
            raise UsageError("--exact is about a RUN", "leave it out: MODELs are always measured")
        if self.split and not self.parity:
            raise UsageError("--split is a quirk of the public tool", "add --parity")
        if self.parity and (self.by or self.exclude):
            raise UsageError("the public tool takes whole models: --parity has no --by, --exclude")
        known = PARITY_METRICS if self.parity else METRICS
        if set(self.metrics) - set(known):
            tool = "the public tool" if self.parity else "kinship without --parity"
            raise UsageError(f"{tool} has only {', '.join(known)}")

    def chosen(self, several: bool) -> tuple[str, ...]:
        """The metrics that were named; by default pcc, or all if `several` can be shown."""
        if self.metrics:
            return self.metrics
        if not several:
            return (str(Metric.PCC),)
        return PARITY_METRICS if self.parity else METRICS


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL… | RUN")
@click.option("--base", help="The base model of the MODELs: a hub id or a folder.")
@runs_dir_option
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(dict.fromkeys((*METRICS, *PARITY_METRICS))),
    multiple=True,
    help="May be repeated. Default: pcc on a terminal, else pcc, cosine and euclidean.",
)
@click.option("--by", type=click.Choice(["layer", "kind", "tensor"]), help="Also per tensor group.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave tensors out: '*norm*'.")
@click.option("--exact", is_flag=True, help="For a RUN: measure the pairs that are estimated.")
@click.option("--parity", is_flag=True, help="Reproduce the public merge_cal, quirks included.")
@click.option("--split", is_flag=True, help="With --parity: mean over tensors, weighted by size.")
@json_option
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write heatmaps as one self-contained page.",
)
def command(
    models: tuple[str, ...],
    base: str | None,
    runs_dir: Path,
    as_json: bool,
    html: Path | None,
    **options: Any,
) -> None:
    """Measure kinship of models (hub ids or folders) over --base, or of the models of a RUN.

    Pairs of a RUN that no decision read are estimated from stored samples of the weights, and
    marked: at least 95 of 100 true values lie within ~value ±error.

    \b
    JSON output: {"base", "models": [name], "pcc": [[…]], "cosine": [[…]], "euclidean": [[…]],
      "errors": {metric: [[…]]}, "warnings": [text]}, null where undefined, and in "errors" where
    a pair was measured; with --by also {"by": {part: {metric: [[…]]}}, "errors_by": the same}.
    """
    measurement = Measurement(**options)
    measurement.check(of_a_run=base is None and len(models) == 1)
    subject = _subject(models, base, runs_dir)
    tables = measured(
        subject,
        measurement.chosen(several=bool(as_json or html)),
        by=measurement.by,
        exclude=measurement.exclude,
        exact=measurement.exact,
        parity=measurement.parity,
        split=measurement.split,
    )
    for warning in tables.warnings:
        click.echo(f"note: {warning}", err=True)
    if html is not None:
        from evomerge.report.kinship_page import kinship_page

        told = (tables.models, tables.parts, tables.errors, tables.warnings)
        write_atomic(html, kinship_page(subject.base, *told))
        click.echo(f"wrote {html}", err=True)
    if as_json:
        click.echo(json.dumps(as_document(subject.base, tables), ensure_ascii=False))
    elif html is None:
        _print(subject.base, tables)


def _subject(models: tuple[str, ...], base: str | None, runs_dir: Path) -> KinshipSubject:
    if base is not None:
        return given(models, base, runs_dir)
    if len(models) != 1:
        raise UsageError("several models need their --base", "evomerge kinship A B --base BASE")
    run = find_own_run(models[0], runs_dir)
    return of_run(run, fold(run.read()))


def as_document(base: str, tables: KinshipTables) -> dict[str, object]:
    """The output of `evomerge kinship --json`."""
    parts = {part: dict(matrices) for part, matrices in tables.parts.items() if part}
    errors = {part: dict(matrices) for part, matrices in tables.errors.items() if part}
    return {
        "base": base,
        "models": list(tables.models),
        **tables.parts[""],
        "errors": dict(tables.errors.get("", {})),
        "warnings": list(tables.warnings),
        **({"by": parts, "errors_by": errors} if parts else {}),
    }


def _print(base: str, tables: KinshipTables) -> None:
    from evomerge.terminal.heatmap import heatmap

    console, estimated = stdout_console(), False
    for part, by_metric in tables.parts.items():
        for metric, matrix in by_metric.items():
            title = f"{metric}, {part}" if part else f"{metric} over {base}"
            errors = tables.errors.get(part, {}).get(metric)
            console.print(heatmap(title, metric, tables.models, matrix, errors))
            estimated = estimated or any(error for row in errors or () for error in row)
    if estimated:
        told = "~ estimated from samples of the weights, ± half an interval (95 of 100 lie within)"
        console.print(f"{told}; --exact measures", style="dim")
