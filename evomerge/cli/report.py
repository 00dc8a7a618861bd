"""`evomerge report`: a run as one page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from evomerge.cli.options import runs_dir_option
from evomerge.store.run_directory import find_run


@click.command()
@click.argument("run")
@runs_dir_option
@click.option("--no-plots", is_flag=True, help="Write the page only, not the files of plots/.")
@click.option("--open", "opened", is_flag=True, help="Show it in the browser.")
@click.option("--background", is_flag=True, hidden=True, help="Leave the processor to others.")
def command(run: str, runs_dir: Path, no_plots: bool, opened: bool, background: bool) -> None:
    """Write the report of RUN: <run>/report.html, one file that needs no network.

    Figures are also written as SVG, PNG and the CSV behind them to <run>/plots/. A run writes its
    report itself after every generation; this writes it anew, at any time. Prints its path.
    """
    if background:
        os.nice(10)
    from evomerge.report.run_page import write_report

    page = write_report(find_run(run, runs_dir), plots=not no_plots)
    click.echo(page)
    if opened:
        click.launch(page.as_uri())
