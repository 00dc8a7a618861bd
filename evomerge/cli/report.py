"""`evomerge report`: write the report of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.store.run_directory import find_run


@click.command()
@click.argument("run")
@runs_dir_option
@click.option("--no-plots", is_flag=True, help="Write only the page, not the files in plots/.")
@click.option("--open", "opened", is_flag=True, help="Show it in the browser.")
@json_option
@click.option("--background", is_flag=True, hidden=True, help="Run with low CPU priority.")
def command(
    run: str, runs_dir: Path, no_plots: bool, opened: bool, as_json: bool, background: bool
) -> None:
    """Write the report of RUN to <run>/report.html, a self-contained page.

    Figures are also written to <run>/plots/ as SVG, PNG, and CSV of their data. A run updates its
    report after every generation; this command rewrites it at any time. Prints its path.

    --json writes nothing and prints all values that the page shows (`evomerge.views.run.RunView`):
    the outcome with its gain and skills, work, models, tasks, search, family, kinship and settings.
    """
    if background:
        os.nice(10)
    found = find_run(run, runs_dir)
    if as_json:
        from evomerge.report.reading import read_view
        from evomerge.views import as_document

        click.echo(json.dumps({"format": 1, **as_document(read_view(found))}, ensure_ascii=False))
        return
    from evomerge.report.run_page import write_report

    page = write_report(found, plots=not no_plots)
    click.echo(page)
    if opened:
        click.launch(page.as_uri())
