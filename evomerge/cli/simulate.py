"""`evomerge simulate`: compare strategies on synthetic landscapes, before paying for a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import click

from evomerge.cli.options import json_option, set_option
from evomerge.configfile import load
from evomerge.domain.errors import UsageError
from evomerge.strategies import STRATEGIES

DEFAULT = "greedy,kinship,random,seed_grid,coefficient_search"


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@set_option
@click.option("--strategies", default=DEFAULT, show_default=True, help="Separated by commas.")
@click.option("--k", "sizes", help="Pool sizes, separated by commas. Default: the config's.")
@click.option("--evaluations", type=click.IntRange(6, 1000), default=40, show_default=True,
              help="The budget, including the foundation models.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(2, 100_000), default=50, show_default=True,
              help="Number of landscapes, which all arms share.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the landscapes.")
@click.option("--models", type=click.IntRange(2, 20), help="Default: as many as in the config.")
@click.option("--interference", type=click.FloatRange(0, 1), default=0.1, show_default=True,
              help="How much each fine-tune harms the skills of the others.")  # fmt: skip
@click.option("--items", type=click.IntRange(10), default=300, show_default=True,
              help="Items of each task in an evaluation.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), help="Processes. Default: one per core.")
@json_option
def command(
    config: Path,
    overrides: tuple[str, ...],
    strategies: str,
    sizes: str | None,
    evaluations: int,
    seeds: int,
    seed: int,
    models: int | None,
    interference: float,
    items: int,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Compare strategies with CONFIG's merge method on synthetic models.

    CONFIG's models and tasks are not read. The landscapes have interfering skills and noisy
    evaluations: they show which strategy, k and budget is worth paying for, not which score to
    expect. A search takes a fraction of a second, but about ten seconds if `bayes` chooses the
    coefficients: use few --strategies or --seeds with it.

    \b
    JSON output: {"format": 1, "settings": {…}, "arms": [{"name", "strategy", "k", "method",
     "after": {"10": {"mean", "stderr"}, …}, "weakest", "curse", "evaluations"}]}
    Scores are true scores (without noise) of the model with the best measured score,
    by the objective.
    """
    from rich.console import Console

    from evomerge.simulation.arms import run_arms
    from evomerge.simulation.landscape import METHODS, LandscapeSettings
    from evomerge.terminal.screen import stdout_console
    from evomerge.terminal.simulation import progress_line, simulation_document, simulation_view

    loaded = load(config, overrides)
    if loaded.merge.method not in METHODS:
        raise UsageError(
            f"merge.method: the simulation does not support {loaded.merge.method!r}",
            f"pass --set merge.method=…, one of {', '.join(METHODS)}",
        )
    settings = LandscapeSettings(models or len(loaded.foundation_models), interference, items)
    if evaluations <= settings.models:
        raise UsageError(
            f"--evaluations {evaluations}: scoring the {settings.models} foundation models takes "
            f"{settings.models}, which leaves no budget for a merge"
        )
    known = [*dict.fromkeys((*STRATEGIES.names, loaded.strategy.name))]
    names = _listed("--strategies", strategies, known)
    ks = _listed("--k", sizes, [str(k) for k in range(2, 101)]) if sizes else [loaded.strategy.k]
    arms = [
        (
            name if len(ks) == 1 else f"{name}, k {k}",
            load(config, (*overrides, f"strategy.name={name}", f"strategy.k={k}")),
        )
        for name, k in product(names, ks)
    ]
    with progress_line(Console(stderr=True), "searches") as progress:
        done = run_arms(
            arms,
            settings,
            count=seeds,
            evaluations=evaluations,
            seed=seed,
            jobs=jobs,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(simulation_document(done, settings, evaluations, seeds)))
    else:
        stdout_console().print(simulation_view(done, settings, evaluations, seeds))


def _listed(option: str, text: str, known: Sequence[str]) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    wrong = [word for word in words if word not in known]
    if wrong or not words:
        choices = f"{known[0]} to {known[-1]}" if known[0].isdigit() else ", ".join(known)
        raise UsageError(f"{option}: {wrong[0] if wrong else 'nothing'!r} is none of {choices}")
    return [*dict.fromkeys(words)]
