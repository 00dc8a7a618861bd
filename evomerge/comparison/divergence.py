"""Where two runs diverge: the first generation whose proposals differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evomerge.comparison.members import Member
from evomerge.domain.identity import content_id
from evomerge.domain.model import Model
from evomerge.domain.state import RunState


@dataclass(frozen=True)
class Divergence:
    """The divergence of two runs.

    Attributes:
        generation: the first one whose merges differ; None if all merges of both are the same.
        shared: number of merges of that generation that both made; their names may differ.
        only_first: merges of that generation that only the first run made.
        only_second: merges of that generation that only the second run made.
        ended: the name of the run that ended before that generation, if one did.
        why: its stopping reason.
    """

    first: str
    second: str
    generation: int | None = None
    shared: int = 0
    only_first: tuple[Model, ...] = ()
    only_second: tuple[Model, ...] = ()
    ended: str | None = None
    why: str | None = None


def divergence(first: Member, second: Member) -> Divergence:
    """Compare two runs generation by generation.

    Two merges are the same if their lineages are: a child is identified by its tree of foundation
    models, not by its name, kind or the order of its parents.
    """
    ours, theirs = families(first.state), families(second.state)
    last = max(len(first.state.generations), len(second.state.generations)) - 1
    for number in range(1, last + 1):
        one = {ours[model.name]: model for model in first.state.at_generation(number)}
        two = {theirs[model.name]: model for model in second.state.at_generation(number)}
        if one.keys() == two.keys():
            continue
        ended = None if one and two else second if one else first
        return Divergence(
            first.name,
            second.name,
            number,
            shared=len(one.keys() & two.keys()),
            only_first=tuple(model for family, model in one.items() if family not in two),
            only_second=tuple(model for family, model in two.items() if family not in one),
            ended=None if ended is None else ended.name,
            why=None if ended is None else ended.state.stop,
        )
    return Divergence(first.name, second.name)


def families(state: RunState) -> Mapping[str, str]:
    """An id of every model's lineage, equal for equal trees over the same foundation models."""
    found: dict[str, str] = {}
    for name, model in state.models.items():
        parents = sorted(found[parent] for parent in model.parents)
        found[name] = content_id("family", 1, parents) if parents else model.content_id
    return found
