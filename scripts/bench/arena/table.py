"""The arena's results as JSON and Markdown: curves, paired tests, comparison with simulation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

import numpy as np
from arms import CRITERIA, OF_ALL, Arm, prices, winners
from fixtures import Fixture
from judge import Judged, mean_score
from scipy.stats import spearmanr, t
from versus import against_peers, paired, versus

from evomerge.domain.scores import Scores
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
    return {
        "format": 1,
        "marks": list(marks),
        "fixtures": dict(controls),
        "arms": [_arm(arm, played, marks) for arm in complete],
        "stopping": list(_stopping(complete, played, marks[-1])),
        "peers": _peers(played),
        "against_peers": [row for each in played for row in _against_peers(each, marks)],
        "tests": _tests(complete, played, marks[-1]),
        "simulation": _simulation(complete, played, marks[-1], landscapes),
    }


def _arm(arm: Arm, played: Sequence[Played], marks: Sequence[int]) -> dict[str, Any]:
    """One arm: an entry per fixture, and its means over the fixtures."""
    own = [each for each in played if arm.name in each.states]
    return _over_fixtures(arm.name, [_on_fixture(arm, each, marks) for each in own])


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


def _on_fixture(arm: Arm, played: Played, marks: Sequence[int]) -> dict[str, Any]:
    state = played.states[arm.name]
    found: dict[str, Any] = {"fixture": played.fixture.number}
    for mark, model in winners(state, marks).items():
        scores = played.held_out[model.content_id]
        found[f"dev@{mark}"] = model.score or 0.0
        found[f"held_out@{mark}"] = mean_score(scores)
        found[f"weakest@{mark}"] = min(task.value for task in scores.tasks)
        found[f"gap@{mark}"] = (model.score or 0.0) - mean_score(scores)
    paid = prices(played.fixture, played.states)
    children = [model for model in state.models.values() if model.generation]
    found["children"] = len(children)
    found["seconds"] = sum(paid.get(model.content_id, 0.0) for model in children)
    return found


def _stopping(arms: Sequence[Arm], played: Sequence[Played], mark: int) -> Iterator[dict[str, Any]]:
    """The cost of each criterion for arms of several generations, over the fixtures."""
    for arm in arms:
        own = [each for each in played if arm.name in each.stops]
        for name in CRITERIA if arm.strategy != "seed_grid" and own else ():
            entries = [_ended(arm, name, each, mark) for each in own]
            means = {key: mean(entry[key] for entry in entries) for key in entries[0]}
            yield {"arm": arm.name, "criterion": name, "fixtures": len(own), **means}


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


def _tests(arms: Sequence[Arm], played: Sequence[Played], mark: int) -> list[dict[str, Any]]:
    """Test every arm against the greedy one of its method (strategies over all models: of TIES).

    Held-out items are paired within fixture and task. p is valid for these fixtures, not for
    others; it is corrected over all arms by Holm's method.
    """
    found: list[dict[str, Any]] = []
    for arm in arms:
        reference = Arm("greedy", "ties" if arm.strategy in OF_ALL else arm.method)
        shared = [each for each in played if {arm.name, reference.name} <= each.states.keys()]
        if arm == reference or not shared:
            continue
        pairs = [pair for each in shared for pair in _pairs(arm, reference, each, mark)]
        difference = overall(pairs)
        row: dict[str, Any] = {"arm": arm.name, "against": reference.name, "fixtures": len(shared)}
        found.append(row | difference.model_dump())
    corrected = holm([float(test["p"]) for test in found])
    for test, p in zip(found, corrected, strict=True):
        test["p_corrected"] = p
    return found


def _pairs(a: Arm, b: Arm, played: Played, mark: int) -> Iterator[Pairs]:
    """Paired item results of the winners of two arms on a fixture, task by task."""
    best = (winners(played.states[arm.name], (mark,))[mark] for arm in (a, b))
    ours, theirs = (played.held_out[model.content_id] for model in best)
    return paired(ours, theirs, played.fixture.number)


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
        if arm.method in METHODS and all(arm.name in each.states for each in played)
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
    real = [_arm(arm, played, (mark,))["mean"][f"held_out@{mark}"]["mean"] for arm in ranked]
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


def markdown(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    return "\n".join(
        [
            *_head(found),
            *_controls(found),
            *_arms(found),
            *versus(found),
            *_of_tests(found),
            *_criteria(found),
            *_beside(found),
            "",
        ]
    )


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    count = sum(not controls["faults"] for controls in found["fixtures"].values())
    yield "# The arena's results\n"
    yield (
        f"Written by `python scripts/bench/arena --report OUT_DIR` over {count} "
        f"fair fixture{'s' if count > 1 else ''}. Scores are in points. "
        + (
            "± is half of a 95 % interval over the fixtures.\n"
            if count > 1
            else "One fixture says nothing of others: its intervals are over items alone.\n"
        )
    )


def _controls(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Fixtures\n"
    yield "The controls, which see no search, decide; on a fixture that is unfair no arm was run.\n"
    yield (
        "| fixture | own task, lowest | other task, highest | one tensor of each | one embedding "
        "row of each | task arithmetic of all | unfair |"
    )
    yield "| --- | --: | --: | --: | --: | --: | --- |"
    for title, controls in found["fixtures"].items():
        own = [controls["scores"][name][name] for name in controls["single_tensor"]]
        other = [
            score
            for name in controls["single_tensor"]
            for task, score in controls["scores"][name].items()
            if task != name
        ]
        cells = [
            f"{min(own):.1f}",
            f"{max(other):.1f}",
            f"{controls['one_tensor_of_each']:.1f}",
            f"{controls['one_embedding_row_of_each']:.1f}",
            f"{max(controls['task_arithmetic_of_all'].values()):.1f}",
            "; ".join(controls["faults"]) or "no",
        ]
        yield f"| {title} | {' | '.join(cells)} |"


def _arms(found: Mapping[str, Any]) -> Iterator[str]:
    marks = found["marks"]
    yield "\n## Held-out score of the model that looked best, in points (mean over fixtures)\n"
    head = [f"at {mark}" for mark in marks]
    head += ["weakest task", "dev − held-out", "children", "seconds a child", "fixtures"]
    yield f"| arm | {' | '.join(head)} |"
    yield f"| --- |{' --: |' * len(head)}"
    last = marks[-1]
    key = f"held_out@{last}"
    for arm in sorted(
        [*found["arms"], *found["peers"]],
        key=lambda a: -a["mean"][key]["mean"] if key in a["mean"] else 0.0,
    ):
        average = arm["mean"]
        wanted = [*(f"held_out@{mark}" for mark in marks), f"weakest@{last}", f"gap@{last}"]
        cells = [_cell(average[each]) if each in average else "–" for each in wanted]
        children, seconds = (average[key]["mean"] for key in ("children", "seconds"))
        cells += [f"{children:.0f}", f"{seconds / max(children, 1):.2f}"]
        name = arm["name"] + (" (peer)" if arm in found["peers"] else "")
        yield f"| {name} | {' | '.join(cells)} | {len(arm['fixtures'])} |"


def _cell(spread: Mapping[str, Any]) -> str:
    half = "" if spread["half"] is None else f" ± {spread['half']:.1f}"
    return f"{spread['mean']:.1f}{half}"


def _of_tests(found: Mapping[str, Any]) -> Iterator[str]:
    if found["tests"]:
        yield "\n## Against greedy, on the same held-out items (of these fixtures)\n"
        yield "| arm | against | difference | 95 % interval | p, corrected |"
        yield "| --- | --- | --: | --- | --: |"
    for test in found["tests"]:
        interval = f"[{test['low']:+.1f}, {test['high']:+.1f}]"
        difference = f"{test['value']:+.1f} | {interval} | {test['p_corrected']:.4f}"
        yield f"| {test['arm']} | {test['against']} | {difference} |"


def _criteria(found: Mapping[str, Any]) -> Iterator[str]:
    if found["stopping"]:
        yield "\n## What a stopping criterion would have cost (mean over fixtures)\n"
        yield "| arm | criterion | ended | children then | held-out then | at the end | cost |"
        yield "| --- | --- | --: | --: | --: | --: | --: |"
    for each in found["stopping"]:
        then, end = each["held_out"], each["held_out_at_the_end"]
        ended = f"{each['stopped'] * each['fixtures']:.0f} of {each['fixtures']}"
        cells = [each["arm"], each["criterion"], ended, f"{each['children']:.0f}"]
        yield f"| {' | '.join(cells)} | {then:.1f} | {end:.1f} | {end - then:.1f} |"


def _beside(found: Mapping[str, Any]) -> Iterator[str]:
    beside = found["simulation"]
    if beside:
        yield "\n## `evomerge simulate` beside the arena\n"
        yield "| arm | simulated | arena |"
        yield "| --- | --: | --: |"
        for name, each in sorted(beside["arms"].items(), key=lambda item: -item[1]["arena"]):
            yield f"| {name} | {each['simulated']:.1f} | {each['arena']:.1f} |"
        yield f"\nSpearman's rank correlation {beside['spearman']:+.2f} (p {beside['p']:.3f})."
