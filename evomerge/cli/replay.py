"""`evomerge replay`: run a strategy over recorded scores and kinship."""

from __future__ import annotations

import json
from pathlib import Path

import click
from pydantic import ValidationError

from evomerge.cli.options import json_option, runs_dir_option
from evomerge.config import RunConfig
from evomerge.domain.errors import ConfigError, Problem, UsageError
from evomerge.domain.events import KinshipMeasured, RunStarted
from evomerge.domain.kinship import pair
from evomerge.domain.model import Model
from evomerge.domain.state import Entry
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import Replay, replay, replay_config
from evomerge.store.recorded import Recorded, keep
from evomerge.store.run_directory import RunDirectory


@click.command()
@click.argument("landscape", type=click.Path(path_type=Path))
@click.option(
    "--strategy",
    type=click.Choice(["kinship", "greedy", "random"]),
    help="Default: the landscape's.",
)
@click.option("--k", type=click.IntRange(min=2), help="Size of the pool; default: the landscape's.")
@click.option("--max-generations", type=click.IntRange(min=1), help="Default: the landscape's.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
              help="Of random choices.")  # fmt: skip
@click.option("--save", metavar="NAME", help="Save the replay as a finished run of this name.")
@runs_dir_option
@json_option
def command(
    landscape: Path,
    strategy: str | None,
    k: int | None,
    max_generations: int | None,
    seed: int,
    save: str | None,
    runs_dir: Path,
    as_json: bool,
) -> None:
    """Replay a strategy over LANDSCAPE, a JSON file of recorded scores and kinship.

    With --save the replay becomes a run for `report` and `compare`. It has the recorded scores
    and kinship only: no weights, standard errors or times.

    \b
    LANDSCAPE: {"format": 1, "name": …, "k": 3, "strategy": "kinship", "max_generations": 5,
      "foundation": {name: score},
      "children": [{"model": …, "parents": [a, b], "score": …}],
      "kinship": [{"models": [a, b], "value": …}]}
    JSON output: {"generations": [[{"model", "kind", "parents"}]], "pool": […], "stop": "…"};
    the model of a proposed pair that is not recorded is null, and the replay stops there.
    """
    world = read_landscape(landscape)
    result = replay(
        world,
        replay_config(
            world,
            run={"name": "replay", "seed": seed},
            strategy={"name": strategy or world.strategy, "k": k or world.k},
            stopping=[
                "pool_unchanged",
                {"max_generations": max_generations or world.max_generations},
            ],
        ),
    )
    if save is not None:
        _keep(RunDirectory(runs_dir / save), result, world)
    click.echo(json.dumps(as_document(result), ensure_ascii=False) if as_json else as_text(result))


def _keep(run: RunDirectory, result: Replay, world: Landscape) -> None:
    """Save the replay as a run; pairs without recorded kinship are left out.

    Raises:
        UsageError: the replay is not finished, or the name is taken or invalid.
    """
    if not result.state.finished:
        raise UsageError(f"the replay did not finish: {result.stop}", "nothing was saved")
    try:
        RunConfig(name=run.name)
    except ValidationError as error:
        raise UsageError(f"--save: {error.errors()[0]['msg']}") from error
    known = {pair(*each.models) for each in world.kinship if not each.assumed}
    entries = []
    for entry in result.entries:
        event = entry.event
        if isinstance(event, RunStarted):
            event = event.model_copy(update={"name": run.name})
        elif isinstance(event, KinshipMeasured):
            readings = tuple(each for each in event.readings if each.models in known)
            event = event.model_copy(update={"readings": readings})
        entries.append(Entry(at=entry.at, event=event))
    keep(run, entries, Recorded.of(world))


def read_landscape(path: Path) -> Landscape:
    """The landscape in a file.

    Raises:
        ConfigError: the file is not readable or not a landscape; names every problem.
    """
    try:
        return Landscape.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError([Problem(str(path), "", str(error.strerror))]) from error
    except ValidationError as error:
        raise ConfigError(
            [
                Problem(str(path), ".".join(str(part) for part in each["loc"]), each["msg"])
                for each in error.errors()
            ]
        ) from error


def as_document(result: Replay) -> dict[str, object]:
    """The output of `evomerge replay --json`."""
    return {
        "generations": [
            [
                {
                    "model": child.name if child.scores else None,
                    "kind": child.kind,
                    "parents": list(child.parents),
                }
                for child in generation
            ]
            for generation in result.generations
        ],
        "pool": [model.name for model in _pool(result)],
        "stop": result.stop,
    }


def as_text(result: Replay) -> str:
    """A replay as text, one line per merge."""
    lines = []
    for number, generation in enumerate(result.generations, start=1):
        lines.append(f"generation {number}")
        for child in generation:
            found = "?" if child.score is None else child.name
            score = "not recorded" if child.score is None else f"{child.score:6.2f}"
            reason = child.candidate.proposal.reason if child.candidate else ""
            lines.append(f"  {found:<14} {score:>6}  {' × '.join(child.parents)}  ({reason})")
    pool = ", ".join(f"{model.name} {model.score:.2f}" for model in _pool(result))
    return "\n".join([*lines, f"pool   {pool}", f"stop   {result.stop}"])


def _pool(result: Replay) -> list[Model]:
    """The last complete pool, best first."""
    pools = [generation.pool for generation in result.state.generations if generation.pool]
    return [result.state.models[name] for name in pools[-1]]
