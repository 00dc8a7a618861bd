"""`evomerge compare`: a comparison of several runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from evomerge.api.comparing import comparison_of, distinct, winners
from evomerge.cli.options import json_option, runs_dir_option
from evomerge.domain.objective import ObjectiveName
from evomerge.store.run_directory import RunDirectory, find_run
from evomerge.terminal.screen import stdout_console


@click.command()
@click.argument("runs", nargs=-1, required=True)
@runs_dir_option
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the comparison as one self-contained page.",
)
@click.option(
    "--objective",
    type=click.Choice(get_args(ObjectiveName)),
    help="Judge every model by this objective; that of the first run if not given.",
)
@json_option
def command(
    runs: tuple[str, ...],
    runs_dir: Path,
    html: Path | None,
    objective: ObjectiveName | None,
    as_json: bool,
) -> None:
    """Compare two or more RUNS: their scores and costs, and where they diverge.

    Runs that differ only in the seed are repeats of one arm, shown as median and range. Runs
    with different objectives are judged by the first one's. "work" is the time without reuse,
    "spent" the time with results reused from the store. Exit code 4: the scores are not
    comparable (different tasks, split, settings or versions).

    \b
    JSON output (unknown values are null, numbers are not rounded):
    {"format": 1, "evaluation_id", "objective", "caveats": [text],
     "baseline": as in `evomerge status --help`,
     "arms": [{"arm", "score": SPREAD, "held_out": SPREAD, "median_run", "alike", "runs": [RUN]}],
     "budgets": [{"unit": "evaluations|merges|hours", "amount", "best": {arm: SPREAD}}],
     "versus": [{"arm", "against", "points": SPREAD, "points_at_equal_evaluations": SPREAD,
                 "equal_evaluations", "extra_evaluations", "paired_seeds": [seed],
                 "divergences": [{"runs": [name, name], "generation", "shared",
                               "only_first": [name], "only_second": [name], "ended", "why"}]}],
     "winners": {"split", "missing", "comparisons"}, as in `evomerge gain --help`}
    RUN: {"name", "seed", "finished", "stop", "best": MODEL, "gain_over_foundation", "skills",
     "generations", "evaluations", "merges", "failures", "reused", "spent_hours", "work_hours",
     "exploration": {"children", "failed", "pooled", "winning": [name], "gain", "greedy_gain",
                     "offspring"},
     "lineage": [name], "models": [MODEL],
     "course": [{"evaluations", "merges", "spent_hours", "work_hours", "best", "score"}]}
    SPREAD: {"median", "low", "high"}; MODEL as in `evomerge status --help`.
    """
    found = [find_run(run, runs_dir) for run in dict.fromkeys(runs)]
    print_comparison(found, as_json=as_json, html=html, objective=objective)


def print_comparison(
    runs: Sequence[RunDirectory],
    *,
    as_json: bool,
    html: Path | None = None,
    objective: ObjectiveName | None = None,
) -> None:
    """Compare `runs` and print the result to stdout, or write it as a page."""
    from evomerge.terminal.comparison import ComparisonView
    from evomerge.terminal.comparison_document import comparison_document

    comparison = comparison_of(runs, objective)
    gains = winners(comparison, dict(zip(distinct(runs), runs, strict=True)))
    if html is not None:
        from evomerge.report.comparison import page

        html.write_text(page(comparison, gains), encoding="utf-8")
        click.echo(f"wrote {html}", err=True)
    if as_json:
        click.echo(json.dumps(comparison_document(comparison, gains), ensure_ascii=False))
    elif html is None:
        stdout_console().print(ComparisonView(comparison, gains))
