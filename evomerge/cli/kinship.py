"""`evomerge kinship`: kinship of given models, or of the models of a run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click

from evomerge.adapters.kinship import KinshipTables, of_the_public_tool, tabulate
from evomerge.cli import kinship_forms as forms
from evomerge.cli.kinship_subject import KinshipSubject, given, of_run
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.errors import CandidateError, PreflightError, UsageError
from evomerge.domain.kinship import Metric
from evomerge.domain.state import fold
from evomerge.store.recorded import find_own_run

METRICS = (*(str(metric) for metric in Metric), "cosine_abs")
PARITY_METRICS = ("pcc", "cosine_abs", "euclidean")


@dataclass(frozen=True)
class Measurement:
    """The options that determine which numbers are computed."""

    metrics: tuple[str, ...]
    by: Literal["layer", "kind", "tensor"] | None
    exclude: tuple[str, ...]
    split: bool
    parity: bool
    low_precision: bool
    exact: bool

    def check(self, of_a_run: bool) -> None:
        """Check that the options are compatible; raises UsageError."""
        if self.exact and not of_a_run:
            raise UsageError("--exact is about a RUN", "leave it out: MODELs are always measured")
        if self.split and of_a_run and not (self.exact or self.parity):
            raise UsageError("a mean over tensors is not estimated", "add --exact")
        if self.low_precision and not self.parity:
            raise UsageError("--low-precision is a quirk of the public tool", "add --parity")
        if self.parity and (self.by or self.exclude):
            raise UsageError("the public tool takes whole models: --parity has no --by, --exclude")
        if self.parity and set(self.metrics) - set(PARITY_METRICS):
            raise UsageError(f"the public tool has only {', '.join(PARITY_METRICS)}")

    def chosen(self, several: bool) -> tuple[str, ...]:
        """The metrics that were named; by default pcc, or all if `several` can be shown."""
        if self.metrics:
            return self.metrics
        if not several:
            return (str(Metric.PCC),)
        return PARITY_METRICS if self.parity else tuple(str(metric) for metric in Metric)


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL… | RUN")
@click.option("--base", help="The base model of the MODELs: a hub id or a folder.")
@runs_dir_option
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(METRICS),
    multiple=True,
    help="May be repeated. Default: pcc on a terminal and as PNG, else pcc, cosine and euclidean.",
)
@click.option("--by", type=click.Choice(["layer", "kind", "tensor"]), help="Also per tensor group.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave tensors out: '*norm*'.")
@click.option("--split", is_flag=True, help="Mean over tensors, weighted by size.")
@click.option("--exact", is_flag=True, help="For a RUN: measure the pairs that are estimated.")
@click.option("--parity", is_flag=True, help="Reproduce the public merge_cal, quirks included.")
@click.option("--low-precision", is_flag=True, help="With --parity: deltas rounded to 8 bits.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="One line per pair: part, metric, a, b, value.")
@forms.file_option("--html", "A self-contained page with heatmaps.")
@forms.file_option("--png", "A heatmap as an image, clustered by kinship from 13 models on.")
def command(
    models: tuple[str, ...],
    base: str | None,
    runs_dir: Path,
    as_json: bool,
    as_csv: bool,
    html: str | None,
    png: str | None,
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
    chosen = measurement.chosen(several=bool(as_json or as_csv or html))
    if png and len(chosen) > 1:
        raise UsageError("a picture shows one metric", "repeat the command for each --metric")
    tables = _measure(subject, chosen, measurement)
    forms.show(subject.base, tables, as_json=as_json, as_csv=as_csv, html=html, png=png)


def _subject(models: tuple[str, ...], base: str | None, runs_dir: Path) -> KinshipSubject:
    if base is not None:
        return given(models, base, runs_dir)
    if len(models) != 1:
        raise UsageError("several models need their --base", "evomerge kinship A B --base BASE")
    run = find_own_run(models[0], runs_dir)
    return of_run(run, fold(run.read()))


def _measure(
    subject: KinshipSubject, metrics: tuple[str, ...], measurement: Measurement
) -> KinshipTables:
    with tempfile.TemporaryDirectory() as logs:
        log = Path(logs) / "kinship.log"
        try:
            if measurement.parity:
                tables = of_the_public_tool(
                    subject.base_folder,
                    subject.by_id,
                    log,
                    metrics=metrics,
                    split=measurement.split,
                    low_precision=measurement.low_precision,
                    progress=_silently,
                )
            else:
                tables = tabulate(
                    subject.base_folder,
                    subject.by_id,
                    log,
                    metrics=metrics,
                    by=measurement.by,
                    exclude=measurement.exclude,
                    split=measurement.split,
                    measure=measurement.exact or subject.passes is None,
                    passes=subject.passes,
                    base_id=subject.base_id,
                    progress=_silently,
                )
        except CandidateError as error:
            raise PreflightError(error.message, error.remedy) from error
    names = subject.names
    warnings = []
    for warning in tables.warnings:
        told = warning
        for content_id, name in names.items():
            told = told.replace(content_id, name)
        warnings.append(told)
    models = tuple(names[each] for each in tables.models)
    return replace(tables, models=models, warnings=tuple(warnings))


def _silently(done: int, total: int) -> None:
    """No-op progress callback."""
