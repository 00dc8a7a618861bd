"""`evomerge kinship`: how alike models changed from their base, without a run or of one."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from evomerge.adapters.kinship import KinshipTables, tabulate
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import CandidateError, PreflightError, UsageError
from evomerge.domain.kinship import Metric
from evomerge.domain.state import fold
from evomerge.store.run_directory import STORE_FOLDER, find_run
from evomerge.terminal import stdout_console

METRICS = (*(str(metric) for metric in Metric), "cosine_abs")
By = Literal["layer", "kind", "tensor"]


@dataclass(frozen=True)
class Subject:
    """What is measured: names and folders, and where passes over this base are stored."""

    base: str
    base_folder: Path
    base_id: str
    ids: Mapping[str, str]
    folders: Mapping[str, Path]
    passes: Path | None


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL… | RUN")
@click.option("--base", help="The base model of the MODELs: a hub id or a folder.")
@runs_dir_option
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(METRICS),
    multiple=True,
    help="May be repeated. Default: pcc on a terminal, pcc, cosine and euclidean as JSON.",
)
@click.option("--by", type=click.Choice(["layer", "kind", "tensor"]), help="Also part by part.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave tensors out: '*norm*'.")
@click.option("--split", is_flag=True, help="Mean of the tensors' kinships, weighted by size.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="One line a pair: part, metric, a, b, value.")
def command(
    models: tuple[str, ...],
    base: str | None,
    runs_dir: Path,
    metrics: tuple[str, ...],
    by: By | None,
    exclude: tuple[str, ...],
    split: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Kinship of models (hub ids or folders) over their --base, or of the models of a RUN.

    \b
    JSON output: {"base", "models": [name], "pcc": [[…]], "cosine": [[…]], "euclidean": [[…]],
      "warnings": [text]}, null where undefined; with --by also {"by": {part: {metric: [[…]]}}}.
    """
    subject = _given(models, base) if base else _of_run(models, runs_dir)
    default = tuple(Metric) if as_json or as_csv else (Metric.PCC,)
    chosen = tuple(str(metric) for metric in (metrics or default))
    tables = _measure(subject, chosen, by, exclude, split)
    for warning in tables.warnings:
        click.echo(f"note: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(as_document(subject.base, tables), ensure_ascii=False))
    elif as_csv:
        _write_csv(tables)
    else:
        from evomerge.terminal.heatmap import heatmap

        for part, by_metric in tables.parts.items():
            for metric, matrix in by_metric.items():
                title = f"{metric} over {subject.base}" + (f", {part}" if part else "")
                stdout_console().print(heatmap(title, metric, tables.models, matrix))


def as_document(base: str, tables: KinshipTables) -> dict[str, object]:
    """The JSON form."""
    parts = {part: dict(matrices) for part, matrices in tables.parts.items() if part}
    return {
        "base": base,
        "models": list(tables.models),
        **tables.parts[""],
        "warnings": list(tables.warnings),
        **({"by": parts} if parts else {}),
    }


def _given(models: tuple[str, ...], base: str) -> Subject:
    from evomerge.adapters.foundation import resolve_all

    if len(models) < 2:
        raise UsageError("kinship is a relation of two models or more", "name another MODEL")
    configs = [ModelConfig(model=each) for each in (base, *models)]
    names = [config.short_name for config in configs]
    configs = [
        config if names.count(name) == 1 else ModelConfig(model=config.model, name=f"{name}-{n}")
        for n, (config, name) in enumerate(zip(configs, names, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        first, *rest = resolve_all(
            configs[0], configs[1:], MergeOptions(), Path(folder) / "digests.json"
        )
    folders = {each.foundation.name: each.path for each in rest}
    ids = {name: name for name in folders}
    return Subject(base, first.path, "base", ids, folders, None)


def _of_run(models: tuple[str, ...], runs_dir: Path) -> Subject:
    if len(models) != 1:
        raise UsageError("several models need their --base", "evomerge kinship A B --base BASE")
    run = find_run(models[0], runs_dir)
    state = fold(run.read())
    store = run.path.parent / STORE_FOLDER
    sources = {each.name: Path(each.source) for each in state.start.foundation}
    scored = [model for model in state.models.values() if model.scores is not None]
    folders = {
        model.name: sources.get(model.name, store / "models" / model.content_id) for model in scored
    }
    base = state.start.base
    passes = store / "kinship" / base.content_id
    ids = {model.name: model.content_id for model in scored}
    return Subject(base.name, Path(base.source), base.content_id, ids, folders, passes)


def _measure(
    subject: Subject, metrics: tuple[str, ...], by: By | None, exclude: tuple[str, ...], split: bool
) -> KinshipTables:
    names = {content_id: name for name, content_id in subject.ids.items()}
    with tempfile.TemporaryDirectory() as logs:
        try:
            tables = tabulate(
                subject.base_folder,
                {subject.ids[name]: folder for name, folder in subject.folders.items()},
                Path(logs) / "kinship.log",
                metrics=metrics,
                by=by,
                exclude=exclude,
                split=split,
                passes=subject.passes,
                base_id=subject.base_id,
                progress=_silently,
            )
        except CandidateError as error:
            raise PreflightError(error.message, error.remedy) from error
    return KinshipTables(
        tuple(names[each] for each in tables.models), tables.parts, tables.warnings
    )


def _silently(done: int, total: int) -> None:
    """No progress is shown."""


def _write_csv(tables: KinshipTables) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(["part", "metric", "a", "b", "kinship"])
    for part, by_metric in tables.parts.items():
        for metric, matrix in by_metric.items():
            for i, a in enumerate(tables.models):
                for j in range(i + 1, len(tables.models)):
                    value = matrix[i][j]
                    writer.writerow(
                        [part, metric, a, tables.models[j], "" if value is None else value]
                    )
