"""Comparison of arms with the peers' searches on the same held-out items, as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from judge import Judged, mean_score
from numpy.typing import NDArray

from evomerge.domain.scores import Scores, TaskScore
from evomerge.significance.paired import Pairs, overall

RECOMMENDED = "wudi-coefficient_search"
"""The arm that is chosen before the scores are known; the best one is known only afterwards."""


def paired(ours: Sequence[Scores], theirs: Sequence[Scores], label: object) -> Iterator[Pairs]:
    """Paired results by item, task by task; `label` distinguishes fixtures.

    Args:
        ours: of one model or of several, over which every item's result is averaged.
    """
    for ones, others in zip(_by_task(ours), _by_task(theirs), strict=True):
        items = (np.mean([_items(score) for score in scores], axis=0) for scores in (ones, others))
        yield Pairs(f"{label}/{ones[0].task}", 1.0, *items)


def _by_task(models: Sequence[Scores]) -> list[tuple[TaskScore, ...]]:
    """The scores of all models on the first task, on the second one, and so on."""
    return list(zip(*(model.tasks for model in models), strict=True))


def against_peers(
    fixture: str, ours: Mapping[str, Mapping[int, Scores]], peers: Sequence[Judged]
) -> Iterator[dict[str, Any]]:
    """Compare the best peer of a fixture with the recommended and the best arm, at every mark.

    Best is by held-out items, which biases the best peer's score upwards as it does ours.

    Args:
        ours: held-out scores of each arm's winner by mark.
    """
    if not peers or not ours:
        return
    for mark in sorted({mark for peer in peers for mark in peer.held_out}):
        there = [peer for peer in peers if mark in peer.held_out]
        theirs = max(there, key=lambda peer: mean_score(peer.held_out[mark]))
        best = max(ours, key=lambda arm: mean_score(ours[arm][mark]))
        found = theirs.held_out[mark]
        yield {
            "fixture": fixture,
            "mark": mark,
            "peers": len(there),
            "peer": {"name": theirs.search.name, "score": mean_score(found)},
            **{
                role: {
                    "name": arm,
                    "score": mean_score(ours[arm][mark]),
                    "difference": overall(
                        list(paired([ours[arm][mark]], [found], fixture))
                    ).model_dump(),
                }
                for role, arm in (("recommended", RECOMMENDED), ("best", best))
                if arm in ours
            },
        }


def versus(found: Mapping[str, Any]) -> Iterator[str]:
    """The comparison as Markdown."""
    if not found["against_peers"]:
        return
    yield "\n## Against the best peer, on the same held-out items\n"
    head = [
        "fixture",
        "at",
        "peers",
        "best peer",
        RECOMMENDED,
        "difference",
        "best arm",
        "difference",
    ]
    yield f"| {' | '.join(head)} |"
    yield "| --- | --: | --: | --- | --: | --- | --- | --- |"
    for each in found["against_peers"]:
        peer, named, best = each["peer"], each.get("recommended"), each["best"]
        cells = [
            each["fixture"],
            str(each["mark"]),
            str(each["peers"]),
            f"{peer['name']} {peer['score']:.1f}",
            f"{named['score']:.1f}" if named else "–",
            _interval(named["difference"]) if named else "–",
            f"{best['name']} {best['score']:.1f}",
            _interval(best["difference"]),
        ]
        yield f"| {' | '.join(cells)} |"
    worst = max(entry["disagreement"] for peer in found["peers"] for entry in peer["fixtures"])
    yield (
        f"\nDev scores of the peers' winners by their evaluation and by ours differ by at most "
        f"{worst:.2f} points."
    )


def _interval(difference: Mapping[str, float]) -> str:
    low, high = difference["low"], difference["high"]
    return f"{difference['value']:+.1f} [{low:+.1f}, {high:+.1f}]"


def _items(score: TaskScore) -> NDArray[np.float64]:
    """The result (0 or 1) of every item."""
    if score.solved is None:
        raise ValueError(f"task {score.task!r} has no results by item")
    bits = int(score.solved, 16)
    return np.array([(bits >> item) & 1 for item in range(score.samples)], dtype=np.float64)
