"""`evomerge run`: start or resume a run, or the arms of a comparison."""

from __future__ import annotations

from pathlib import Path

import click

from evomerge.api.driving import refuse_another_config
from evomerge.cli.driving import drive_and_report, driving_options
from evomerge.cli.options import set_option
from evomerge.configfile import anchored, load
from evomerge.configfile.citing import citing
from evomerge.domain.errors import UsageError
from evomerge.store.run_directory import RunDirectory


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@set_option
@click.option(
    "--arms",
    metavar="A,B,…",
    help="Run these strategies one after the other over the shared store, then compare them: "
    "--arms greedy,kinship,random.",
)
@click.option(
    "--arm",
    "further",
    metavar="'NAME: KEY=VALUE …'",
    multiple=True,
    help="A further arm, by what it overrides: --arm 'ties: merge.method=ties'. May be repeated.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1, max=1000),
    default=1,
    show_default=True,
    help="With --arms: number of runs of every arm, with seeds run.seed, run.seed + 1, …",
)
@driving_options
def command(
    config: Path,
    overrides: tuple[str, ...],
    arms: str | None,
    further: tuple[str, ...],
    repeats: int,
    accept_drift: bool,
    plain: bool,
    as_json: bool,
) -> None:
    """Evolve the models of CONFIG, a YAML file.

    The folder of the run is <run.dir>/<run.name>. An unfinished run is resumed; a finished run
    is not changed. Ctrl-C stops the run at any time; finished work is kept.

    With --arms or --arm every arm is a separate run, <run.name>-<arm> (with --repeats
    <run.name>-<arm>-seed<seed>), and the output of `evomerge compare` follows. The same
    command resumes after an interruption.
    """
    if arms is not None or further:
        with citing(config, overrides):
            _arms(config, overrides, arms, further, repeats, accept_drift, plain, as_json)
        return
    if repeats > 1:
        raise UsageError("--repeats is for the arms of a comparison", "add --arms greedy,kinship")
    settings = anchored(load(config, overrides), Path.cwd())
    run = RunDirectory(settings.run.dir / settings.run.name)
    refuse_another_config(run, settings)
    with citing(config, overrides):
        drive_and_report(run, settings, accept_drift=accept_drift, plain=plain, as_json=as_json)


def _arms(
    config: Path,
    overrides: tuple[str, ...],
    strategies: str | None,
    further: tuple[str, ...],
    repeats: int,
    accept_drift: bool,
    plain: bool,
    as_json: bool,
) -> None:
    from evomerge.cli.arms import command_again, parsed_arms, planned, run_arms
    from evomerge.cli.compare import print_comparison

    arms = planned(config, overrides, parsed_arms(strategies, further), repeats)
    again = command_again(config, overrides, strategies, further, repeats)
    runs = [*run_arms(arms, again, accept_drift=accept_drift, plain=plain)]
    print_comparison(runs, as_json=as_json)
