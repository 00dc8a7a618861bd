"""Arms: runs that differ only in the seed are repeats of one arm."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.comparison.members import Member
from evomerge.domain.digest import decision_digest
from evomerge.domain.identity import canonical_json

_SEED = "run.seed"
_STRATEGY = "strategy.name"
_CANDIDATES = "strategy.exploration.candidates"
_METHOD = "merge.method"
_STOPPING = "stopping"
_TOLD, _LONG = 3, 40  # settings in a label, and characters of each


@dataclass(frozen=True)
class Spread:
    """The median of a value over the repeats of an arm, and its range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of `values`; None if there are no values or one is unknown."""
        known = [*values]
        numbers = [value for value in known if value is not None]
        if not numbers or len(numbers) < len(known):
            return None
        return cls(statistics.median(numbers), min(numbers), max(numbers))


@dataclass(frozen=True)
class Arm:
    """The repeats of one experiment, by seed.

    Attributes:
        label: its differences from the other arms, in words: `kinship`, `wudi`, `kinship, k 4`.
    """

    label: str
    members: tuple[Member, ...]

    @property
    def median(self) -> Member:
        """The repeat with the median best score; the lower one for an even number of repeats."""
        ordered = sorted(self.members, key=lambda member: (member.score, -member.seed))
        return ordered[(len(ordered) - 1) // 2]

    @property
    def score(self) -> Spread:
        """The spread of the best scores, in points."""
        spread = Spread.of(member.score for member in self.members)
        assert spread is not None, "an arm has a member"  # noqa: S101
        return spread

    @property
    def held_out(self) -> Spread | None:
        """The spread of the best models' held-out scores; None if one is missing."""
        estimates = [member.best.estimate("held_out") for member in self.members]
        return Spread.of(None if each is None else each.value for each in estimates)

    @property
    def alike(self) -> bool:
        """Whether all repeats made the same decisions, so that they are a single sample."""
        if len(self.members) < 2:
            return False
        if len({_glance(member) for member in self.members}) > 1:
            return False  # a digest of a long run takes seconds
        digests = {decision_digest(_without_seed(member)) for member in self.members}
        return len(digests) == 1


def grouped(members: Sequence[Member]) -> tuple[Arm, ...]:
    """The arms of `members`, in the order of their first members."""
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(canonical_json(_experiment(member)), []).append(member)
    settings = [_experiment(group[0]) for group in groups.values()]
    labels = _distinct([_label(each, settings) for each in settings], [*groups.values()])
    return tuple(
        Arm(label, tuple(sorted(group, key=lambda member: member.seed)))
        for label, group in zip(labels, groups.values(), strict=True)
    )


def _glance(member: Member) -> tuple[tuple[str, float | None], ...]:
    """Names and scores, as a cheap check: runs that differ here made different decisions."""
    return tuple((model.name, model.score) for model in member.state.models.values())


def _experiment(member: Member) -> Mapping[str, Any]:
    """The identity of a run without its seed."""
    start = member.state.start
    settings = {key: value for key, value in member.settings.items() if key != _SEED} or {
        _STRATEGY: start.strategy,
        "strategy.k": start.k,
        "kinship.metric": start.metric.value,
        **({} if start.strategy == "greedy" else {_CANDIDATES: start.candidates}),
        "evaluation.objective": member.objective,
    }
    models = {each.name: each.content_id for each in (start.base, *start.foundation)}
    return {**settings, "models": models}


def _label(own: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    """What distinguishes this arm, in words: `greedy`, `wudi`, `kinship, k 4`; the first of it.

    The strategy is told if arms differ in it, or in nothing else. Options that no other arm's
    strategy has are left out: the strategy implies them, and a merge method its parameters.
    """
    implied = {_STRATEGY, "models"}
    own_flat, *_ = flat = [_with_criteria(each, every) for each in (own, *every)]
    by_method = len({each.get(_METHOD) for each in flat}) > 1
    differing = [
        key
        for key, value in own_flat.items()
        if key not in implied
        and not (by_method and key.startswith("merge.parameters."))
        and any(key in other and other[key] != value for other in flat)
    ]
    told = [_in_words(key, own_flat[key]) for key in differing]
    more = [f"{len(told) - _TOLD} more"] if len(told) > _TOLD else []
    strategy = str(own.get(_STRATEGY, "?")).replace("_", " ")
    alike = all(each.get(_STRATEGY) == own.get(_STRATEGY) for each in every)
    return ", ".join([*([] if told and alike else [strategy]), *told[:_TOLD], *more])


def _with_criteria(
    settings: Mapping[str, Any], every: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The settings with a key for each stopping criterion of any arm; None where it has it not."""
    names = {name for each in every for name, _ in _criteria(each)}
    flat = {key: value for key, value in settings.items() if key != _STOPPING}
    flat |= dict.fromkeys((f"{_STOPPING}.{name}" for name in sorted(names)), None)
    for name, value in _criteria(settings):
        options = value if isinstance(value, dict) else {}
        flat[f"{_STOPPING}.{name}"] = True if options or value is None else value
        flat |= {f"{_STOPPING}.{name}.{option}": each for option, each in options.items()}
    return flat


def _criteria(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The stopping criteria by name, each with its value or options."""
    for each in settings.get(_STOPPING) or ():
        yield from each.items() if isinstance(each, dict) else [(str(each), None)]


def _in_words(key: str, value: Any) -> str:
    """A setting in words: `wudi`, `k 4`, `with cache`, a criterion by its name; no long values."""
    name = " ".join(key.split(".")[1:] or [key]).replace("_", " ")
    if key == _METHOD and isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return f"{'with' if value else 'without'} {name}"
    text = f"{name} {value if isinstance(value, str) else canonical_json(value)}"
    return text if len(text) <= _LONG else f"own {name}"


def _distinct(labels: Sequence[str], groups: Sequence[Sequence[Member]]) -> list[str]:
    """Replace labels that two arms share by the name of the arm's first run."""
    return [
        group[0].name if labels.count(label) > 1 else label
        for label, group in zip(labels, groups, strict=True)
    ]


def _without_seed(member: Member) -> Any:
    """The state with the seed set to 0 where it is only recorded."""
    from dataclasses import replace

    return replace(member.state, started=member.state.start.model_copy(update={"seed": 0}))
