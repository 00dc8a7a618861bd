"""`evomerge report`: write the report of a run."""

from __future__ import annotations

import os
from pathlib import Path

import click

from evomerge.cli.options import runs_dir_option
from evomerge.store.run_directory import find_run


@click.command()
@click.argument("run")
@runs_dir_option
@click.option("--no-plots", is_flag=True, help="Write only the page, not the files in plots/.")
@click.option("--open", "opened", is_flag=True, help="Show it in the browser.")
@click.option("--background", is_flag=True, hidden=True, help="Run with low CPU priority.")
def command(run: str, runs_dir: Path, no_plots: bool, opened: bool, background: bool) -> None:
    """Write the report of RUN to <run>/report.html, a self-contained page.

    Figures are also written to <run>/plots/ as SVG, PNG, and CSV of their data. A run updates its
    report after every generation; this command rewrites it at any time. Prints its path.
    """
    if background:
        os.nice(10)
    from evomerge.report.run_page import write_report

    page = write_report(find_run(run, runs_dir), plots=not no_plots)
    click.echo(page)
    if opened:
        click.launch(page.as_uri())
