"""The arena's results as one document: curves, paired tests, comparison with the simulation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import Any

import numpy as np
from arms import CRITERIA, OF_PAIRS, Arm, prices, winners
from fixtures import Fixture
from judge import Judged, mean_score
from scipy.stats import spearmanr, t
from versus import against_peers, paired

from evomerge.domain.model import Model
from evomerge.domain.scores import Scores
from evomerge.domain.skills import skills_of
from evomerge.domain.state import RunState
from evomerge.significance.holm import holm
from evomerge.significance.paired import Pairs, overall
from evomerge.simulation.arms import run_arms
from evomerge.simulation.landscape import METHODS, LandscapeSettings

INTERFERENCE = {False: 0.1, True: 0.3}
"""Interference of the simulated landscapes that correspond to easy and hard fixtures."""


@dataclass(frozen=True)
class Played:
    """The results on a fixture so far.

    Attributes:
        states: of the finished arms, by name.
        held_out: held-out scores by content id.
        stops: by arm and criterion, the number of children at which it would have ended the arm.
    """

    fixture: Fixture
    states: Mapping[str, RunState]
    held_out: Mapping[str, Scores]
    stops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    peers: Sequence[Judged] = ()


def document(
    arms: Sequence[Arm],
    played: Sequence[Played],
    controls: Mapping[str, Any],
    marks: Sequence[int],
    landscapes: int,
) -> dict[str, Any]:
    """All results; arms that are finished on no fixture are left out.

    Args:
        controls: of every fixture that was made, by title; no arm is run on an unfair one.
    """
    complete = [arm for arm in arms if any(arm.name in each.states for each in played)]
    by_title: dict[str, list[Arm]] = {}
    for arm in complete:
        by_title.setdefault(arm.title, []).append(arm)
    seeds = list(by_title.values())
    return {
        "format": 2,
        "marks": list(marks),
        "fixtures": dict(controls),
        "arms": [_arm(each, played, marks) for each in seeds],
        "stopping": [row for each in seeds for row in _stopping(each, played, marks[-1])],
        "peers": _peers(played),
        "against_peers": [row for each in played for row in _against_peers(each, marks)],
        "tests": _tests(seeds, played, marks[-1]),
        "simulation": _simulation(complete, played, marks[-1], landscapes),
    }


def _arm(seeds: Sequence[Arm], played: Sequence[Played], marks: Sequence[int]) -> dict[str, Any]:
    """An arm with all its seeds: an entry per fixture, and its means over the fixtures."""
    own = [each for each in played if _runs(seeds, each)]
    return _over_fixtures(seeds[0].title, [_on_fixture(seeds, each, marks) for each in own])


def _runs(seeds: Sequence[Arm], played: Played) -> list[Arm]:
    """Those that are finished on a fixture."""
    return [arm for arm in seeds if arm.name in played.states]


def _over_fixtures(name: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    keys = [
        key for key in entries[0] if all(key in entry for entry in entries) and key != "fixture"
    ]
    means = {key: _spread([entry[key] for entry in entries]) for key in keys}
    return {"name": name, "fixtures": entries, "mean": means}


def _peers(played: Sequence[Played]) -> list[dict[str, Any]]:
    """The peers, in the same form as the arms."""
    names = sorted({peer.search.name for each in played for peer in each.peers})
    return [
        _over_fixtures(
            name,
            [p.row(each.fixture) for each in played for p in each.peers if p.search.name == name],
        )
        for name in names
    ]


def _on_fixture(seeds: Sequence[Arm], played: Played, marks: Sequence[int]) -> dict[str, Any]:
    """Means over the seeds; `between_seeds@` is the standard deviation of the held-out score."""
    runs = [_of_run(arm, played, marks) for arm in _runs(seeds, played)]
    found: dict[str, Any] = {"fixture": played.fixture.number, "seeds": len(runs)}
    found |= {key: mean(run[key] for run in runs) for key in runs[0]}
    if len(runs) > 1:
        found |= {
            f"between_seeds@{mark}": stdev(run[f"held_out@{mark}"] for run in runs)
            for mark in marks
        }
    return found


def _of_run(arm: Arm, played: Played, marks: Sequence[int]) -> dict[str, float]:
    state = played.states[arm.name]
    found: dict[str, float] = {}
    for mark, model in winners(state, marks).items():
        scores = played.held_out[model.content_id]
        found[f"dev@{mark}"] = model.score or 0.0
        found[f"held_out@{mark}"] = mean_score(scores)
        found[f"weakest@{mark}"] = min(task.value for task in scores.tasks)
        found[f"gap@{mark}"] = (model.score or 0.0) - mean_score(scores)
        found |= _kept(state, model, scores, mark)
    paid = prices(played.fixture, played.states)
    children = [model for model in state.models.values() if model.generation]
    found["children"] = len(children)
    found["seconds"] = sum(paid.get(model.content_id, 0.0) for model in children)
    return found


def _kept(state: RunState, model: Model, scores: Scores, mark: int) -> dict[str, float]:
    """The number of skills that a winner keeps on the held-out items."""
    skills = skills_of(state, replace(model, held_out={"held_out": scores}))
    return {f"kept@{mark}": skills.kept} if skills else {}


def _stopping(
    seeds: Sequence[Arm], played: Sequence[Played], mark: int
) -> Iterator[dict[str, Any]]:
    """The cost of each criterion for an arm of several generations, over its runs."""
    own = [(arm, each) for each in played for arm in seeds if arm.name in each.stops]
    for name in CRITERIA if seeds[0].strategy != "seed_grid" and own else ():
        entries = [_ended(arm, name, each, mark) for arm, each in own]
        means = {key: mean(entry[key] for entry in entries) for key in entries[0]}
        yield {"arm": seeds[0].title, "criterion": name, "runs": len(own), **means}


def _ended(arm: Arm, criterion: str, played: Played, mark: int) -> dict[str, float]:
    """The point at which a criterion would have ended an arm on a fixture, at most its end."""
    children = played.stops[arm.name].get(criterion)
    made = mark if children is None else children
    best = winners(played.states[arm.name], (made, mark))
    return {
        "stopped": float(children is not None),
        "children": float(made),
        "held_out": mean_score(played.held_out[best[made].content_id]),
        "held_out_at_the_end": mean_score(played.held_out[best[mark].content_id]),
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and half width of its 95 % interval (t) over the fixtures; None for a single one."""
    if len(values) < 2:
        return {"mean": values[0], "half": None}
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return {"mean": mean(values), "half": half}


def _tests(
    arms: Sequence[Sequence[Arm]], played: Sequence[Played], mark: int
) -> list[dict[str, Any]]:
    """Test every arm of pairs against kinship by its method, the others against TIES's search.

    Runs of the same seed are compared, on the same held-out items; a reference that does not draw
    has one run for all. Every item's result is averaged over the seeds. Its interval and p are
    valid for these fixtures, not for others; p is corrected over all arms by Holm's method. The
    interval over the fixtures speaks of others.

    Args:
        arms: the seeds of every arm.
    """
    found: list[dict[str, Any]] = []
    for seeds in arms:
        arm = seeds[0]
        reference = _reference(arm)
        shared = [(each, _shared(seeds, reference, each)) for each in played]
        shared = [(each, pairs) for each, pairs in shared if pairs]
        if arm.title == reference.title or not shared:
            continue
        items = [pair for each, pairs in shared for pair in _pairs(pairs, each, mark)]
        row: dict[str, Any] = {"arm": arm.title, "against": reference.title}
        row |= overall(items).model_dump()
        row["by_fixture"] = {
            each.fixture.number: [_difference(pair, each, mark) for pair in pairs]
            for each, pairs in shared
        }
        row["over_fixtures"] = _spread([mean(each) for each in row["by_fixture"].values()])
        found.append(row)
    corrected = holm([float(test["p"]) for test in found])
    for test, p in zip(found, corrected, strict=True):
        test["p_corrected"] = p
    return found


def _reference(arm: Arm) -> Arm:
    if arm.strategy in OF_PAIRS:
        return Arm("kinship", arm.method)
    return Arm("coefficient_search")


def _shared(seeds: Sequence[Arm], reference: Arm, played: Played) -> list[tuple[Arm, Arm]]:
    """The arm and its reference for every seed of which a fixture has both."""
    pairs = [(arm, reference.seeded(arm.seed)) for arm in seeds]
    return [pair for pair in pairs if len(_runs(pair, played)) == len(pair)]


def _won(arm: Arm, played: Played, mark: int) -> Scores:
    """The held-out scores of an arm's winner."""
    return played.held_out[winners(played.states[arm.name], (mark,))[mark].content_id]


def _pairs(runs: Sequence[tuple[Arm, Arm]], played: Played, mark: int) -> Iterator[Pairs]:
    """Paired item results of an arm and its reference on a fixture, task by task."""
    ours, theirs = ([_won(arm, played, mark) for arm in side] for side in zip(*runs, strict=True))
    return paired(ours, theirs, played.fixture.number)


def _difference(pair: tuple[Arm, Arm], played: Played, mark: int) -> float:
    ours, theirs = (mean_score(_won(arm, played, mark)) for arm in pair)
    return ours - theirs


def _against_peers(played: Played, marks: Sequence[int]) -> Iterator[dict[str, Any]]:
    ours = {
        name: {
            mark: played.held_out[model.content_id] for mark, model in winners(state, marks).items()
        }
        for name, state in played.states.items()
    }
    return against_peers(played.fixture.title, ours, played.peers)


def _simulation(
    arms: Sequence[Arm], played: Sequence[Played], mark: int, landscapes: int
) -> dict[str, Any] | None:
    """`evomerge simulate`'s score of the arms beside the arena's, for arms finished everywhere.

    Without those whose merge method it cannot simulate.

    Each fixture has landscapes of its own kind: as many specialists and items, its interference.
    """
    ranked = [
        arm
        for arm in arms
        if arm.seed == 1
        and arm.method in METHODS
        and all(arm.name in each.states for each in played)
    ]
    if len(ranked) < 3 or not landscapes:
        return None
    founders = len(played[0].states[ranked[0].name].at_generation(0))
    simulated = np.zeros(len(ranked))
    for each in played:
        settings = LandscapeSettings(founders, INTERFERENCE[each.fixture.hard], each.fixture.items)
        configs = [(arm.name, arm.config(each.fixture, mark)) for arm in ranked]
        done = run_arms(configs, settings, count=landscapes, evaluations=founders + mark)
        simulated += [arm.after(founders + mark)[0] / len(played) for arm in done]
    real = [_arm([arm], played, (mark,))["mean"][f"held_out@{mark}"]["mean"] for arm in ranked]
    outcome = spearmanr(simulated, real)
    return {
        "landscapes": landscapes,
        "arms": {
            arm.name: {"simulated": float(imagined), "arena": measured}
            for arm, imagined, measured in zip(ranked, simulated, real, strict=True)
        },
        "spearman": float(outcome.statistic),
        "p": float(outcome.pvalue),
    }
