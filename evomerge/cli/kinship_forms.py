"""Output formats of `evomerge kinship`: terminal, JSON, CSV, page, image."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
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
    warnings: Sequence[str],
    *,
    as_json: bool,
    as_csv: bool,
    html: str | None,
    png: str | None,
) -> None:
    """Write matrices in the requested formats; by default as text to the terminal."""
    for warning in warnings:
        click.echo(f"note: {warning}", err=True)
    if html is not None:
        from evomerge.report.matrix import kinship_page

        _write(html, kinship_page(base, tables.models, tables.parts, warnings).encode())
    if png is not None:
        from evomerge.report.matrix import kinship_png

        ((metric, matrix),) = tables.parts[""].items()
        _write(png, kinship_png(base, metric, tables.models, matrix))
    if as_json:
        click.echo(json.dumps(as_document(base, tables, warnings), ensure_ascii=False))
    elif as_csv:
        _write_csv(tables)
    elif html is None and png is None:
        _print(base, tables)


def as_document(base: str, tables: KinshipTables, warnings: Sequence[str]) -> dict[str, object]:
    """The output of `evomerge kinship --json`."""
    parts = {part: dict(matrices) for part, matrices in tables.parts.items() if part}
    return {
        "base": base,
        "models": list(tables.models),
        **tables.parts[""],
        "warnings": list(warnings),
        **({"by": parts} if parts else {}),
    }


def _print(base: str, tables: KinshipTables) -> None:
    from evomerge.terminal.heatmap import heatmap

    for part, by_metric in tables.parts.items():
        for metric, matrix in by_metric.items():
            title = f"{metric}, {part}" if part else f"{metric} over {base}"
            stdout_console().print(heatmap(title, metric, tables.models, matrix))


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
    writer.writerow(["part", "metric", "a", "b", "kinship"])
    for part, by_metric in tables.parts.items():
        for metric, matrix in by_metric.items():
            for i, a in enumerate(tables.models):
                for j in range(i + 1, len(tables.models)):
                    value = matrix[i][j]
                    writer.writerow(
                        [part, metric, a, tables.models[j], "" if value is None else value]
                    )
