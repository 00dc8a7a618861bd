"""Where two runs part: the first generation whose proposals differ, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evomerge.comparison.members import Member
from evomerge.domain.identity import content_id
from evomerge.domain.model import Model
from evomerge.domain.state import RunState


@dataclass(frozen=True)
class Parting:
    """How the courses of two runs relate.

    Attributes:
        generation: the first whose merges differ; None if all that both made are the same.
        shared: merges of that generation that both made; their names may differ.
        only_first: merges of that generation that only the first run made.
        only_second: and those that only the second one made.
        ended: the name of the run that had ended before that generation, if that is how they part.
        why: the reason for which it ended.
    """

    first: str
    second: str
    generation: int | None = None
    shared: int = 0
    only_first: tuple[Model, ...] = ()
    only_second: tuple[Model, ...] = ()
    ended: str | None = None
    why: str | None = None


def parting(first: Member, second: Member) -> Parting:
    """Compare two runs generation by generation.

    Two merges are the same if they join the same families: a child is known by its tree of
    foundation models, whatever its name, kind or the order of its parents.
    """
    ours, theirs = families(first.state), families(second.state)
    last = max(len(first.state.generations), len(second.state.generations)) - 1
    for number in range(1, last + 1):
        one = {ours[model.name]: model for model in first.state.at_generation(number)}
        two = {theirs[model.name]: model for model in second.state.at_generation(number)}
        if one.keys() == two.keys():
            continue
        ended = None if one and two else second if one else first
        return Parting(
            first.name,
            second.name,
            number,
            shared=len(one.keys() & two.keys()),
            only_first=tuple(model for family, model in one.items() if family not in two),
            only_second=tuple(model for family, model in two.items() if family not in one),
            ended=None if ended is None else ended.name,
            why=None if ended is None else ended.state.stop,
        )
    return Parting(first.name, second.name)


def families(state: RunState) -> Mapping[str, str]:
    """An id of every model's family tree: equal for equal trees over the same foundation models."""
    found: dict[str, str] = {}
    for name, model in state.models.items():
        parents = sorted(found[parent] for parent in model.parents)
        found[name] = content_id("family", 1, parents) if parents else model.content_id
    return found
