"""Checks that the scores of several runs are comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evomerge.comparison.members import Member
from evomerge.domain.errors import IncomparableError
from evomerge.domain.identity import canonical_json
from evomerge.domain.objective import MEANINGS

_EVALUATION = "evaluation."
_SHOWN = 70  # characters of a value
_MOST = 5  # differences of two runs


def require_comparable(members: Sequence[Member]) -> None:
    """Check that all scores of all runs were measured with the same settings.

    Raises:
        IncomparableError: names what differs: settings, versions, or task files and data.
    """
    for member in members:
        ids = _evaluation_ids(member)
        if len(ids) > 1:
            raise IncomparableError(
                f"the scores of {member.name} are not comparable with each other: it was resumed "
                f"with another evaluation ({', '.join(sorted(ids))})",
                "start the run again under another name; models and kinship are reused",
            )
    first = members[0]
    lines = [
        f"{other.name} against {first.name}:{_few(_differences(first, other))}"
        for other in members[1:]
        if _evaluation_ids(other) != _evaluation_ids(first)
    ]
    if lines:
        raise IncomparableError(
            "\n  ".join(["these runs were not scored with the same settings:", *lines]),
            "compare runs with equal tasks, settings and versions; models in the store can be "
            "scored again without a merge",
        )


def caveats(members: Sequence[Member]) -> list[str]:
    """Caveats about runs whose scores are comparable, one sentence each."""
    first, said = members[0], []
    for other in members[1:]:
        if _foundation(other) != _foundation(first):
            said.append(f"{other.name} and {first.name} start from different foundation models")
        if other.state.start.metric != first.state.start.metric:
            said.append(
                f"kinship is {other.state.start.metric.value} in {other.name} and "
                f"{first.state.start.metric.value} in {first.name}: these figures do not compare"
            )
    by = first.state.start.objective
    said += [
        f"{member.name} searched for {MEANINGS[member.objective]}; here every score is "
        f"{MEANINGS[by]} (evaluation.objective: {by})"
        for member in members
        if member.objective != by
    ]
    said += [
        f"{member.name} is not finished; its numbers are preliminary"
        for member in members
        if not member.state.finished
    ]
    return said


def _evaluation_ids(member: Member) -> set[str]:
    return {model.scores.evaluation_id for model in member.state.ranking if model.scores}


def _foundation(member: Member) -> set[str]:
    return {model.content_id for model in member.state.start.foundation}


def _differences(first: Member, other: Member) -> list[str]:
    """The differences of two evaluations, `key: other's, there first's`."""
    found = _unequal(
        {k: v for k, v in first.settings.items() if k.startswith(_EVALUATION)},
        {k: v for k, v in other.settings.items() if k.startswith(_EVALUATION)},
    )
    found += _unequal(first.state.start.versions, other.state.start.versions)
    found += _unequal(_tasks(first), _tasks(other)) if not found else []
    return found or ["the files or data of a task differ"]


def _few(differences: list[str]) -> str:
    shown = differences[:_MOST]
    if more := len(differences) - len(shown):
        shown.append(f"and {more} more")
    return f" {shown[0]}" if len(shown) == 1 else "\n    ".join(["", *shown])


def _tasks(member: Member) -> dict[str, object]:
    """Facts about the tasks from the scores, for runs without a readable config."""
    scores = member.best.scores
    return {
        f"task {task.task}": f"{task.metric} of {task.samples} items"
        for task in (scores.tasks if scores else ())
    }


def _unequal(one: Mapping[str, object], two: Mapping[str, object]) -> list[str]:
    keys = [*one, *(key for key in two if key not in one)]
    return [
        f"{key}: {_told(two, key)}, there {_told(one, key)}"
        for key in keys
        if one.get(key) != two.get(key)
    ]


def _told(values: Mapping[str, object], key: str) -> str:
    text = canonical_json(values[key]) if key in values else "absent"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
