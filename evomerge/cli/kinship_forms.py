"""Output formats of `evomerge kinship`: terminal, JSON, CSV, page, image."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from evomerge.adapters.kinship import KinshipTables
from evomerge.domain.errors import UsageError
from evomerge.store.atomic import write_atomic
from evomerge.terminal import stdout_console

STDOUT = "-"


def file_option(name: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option `--html [FILE]` or `--png [FILE]`: writes to FILE, or to stdout without one."""
    ending = name.replace("--", ".")

    def check(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
        if value not in {None, STDOUT} and not str(value).endswith(ending):
            raise UsageError(
                f"{name} {value}: a file that ends in {ending} is expected",
                f"give {name} last, or {name} - to write to stdout",
            )
        return value

    return click.option(
        name, is_flag=False, flag_value=STDOUT, metavar="FILE", callback=check, help=text
    )


def show(
    base: str,
    tables: KinshipTables,
    *,
    as_json: bool,
    as_csv: bool,
    html: str | None,
    png: str | None,
) -> None:
    """Write matrices in the requested formats; by default as text to the terminal."""
    for warning in tables.warnings:
        click.echo(f"note: {warning}", err=True)
    if html is not None:
        from evomerge.report.matrix import kinship_page

        page = kinship_page(base, tables.models, tables.parts, tables.errors, tables.warnings)
        _write(html, page.encode())
    if png is not None:
        from evomerge.report.matrix import kinship_png

        ((metric, matrix),) = tables.parts[""].items()
        errors = tables.errors.get("", {}).get(metric)
        _write(png, kinship_png(base, metric, tables.models, matrix, errors))
    if as_json:
        click.echo(json.dumps(as_document(base, tables), ensure_ascii=False))
    elif as_csv:
        _write_csv(tables)
    elif html is None and png is None:
        _print(base, tables)


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


def _write(target: str, data: bytes) -> None:
    if target != STDOUT:
        write_atomic(Path(target), data)
        click.echo(f"written: {target}", err=True)
        return
    if sys.stdout.isatty():
        raise UsageError("a page or a picture is no text for a terminal", "name a FILE")
    sys.stdout.buffer.write(data)


def _write_csv(tables: KinshipTables) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(["part", "metric", "a", "b", "kinship", "error"])
    for part, by_metric in tables.parts.items():
        for metric, matrix in by_metric.items():
            errors = tables.errors.get(part, {}).get(metric)
            for i, a in enumerate(tables.models):
                for j in range(i + 1, len(tables.models)):
                    error = errors and errors[i][j]
                    told = ["" if each is None else each for each in (matrix[i][j], error)]
                    writer.writerow([part, metric, a, tables.models[j], *told])
