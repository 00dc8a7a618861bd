"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

runs_dir_option = click.option(
    "--dir",
    "runs_dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="EVOMERGE_RUNS",
    default=Path("runs"),
    show_default=True,
    show_envvar=True,
    help="The runs folder.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")

set_option = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override one value of the config: --set strategy.k=4. May be repeated.",
)
