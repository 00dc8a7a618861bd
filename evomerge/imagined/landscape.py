"""Landscape files: recorded scores and kinship, for replays of strategies.

Format 1, as JSON:
    name, k, strategy, max_generations
    foundation: {name: score}
    children: [{model, parents: [a, b], score}]    at most one child per unordered pair;
                                                   `assumed_parents`: the parents are a guess
    kinship: [{models: [a, b], value}]             `assumed`: the value was not measured
    note: its source (optional)
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from evomerge.domain.kinship import KinshipMatrix, Metric, Pair, pair
from evomerge.domain.value import Value


class RecordedMerge(Value):
    """A recorded merge."""

    model_config = ConfigDict(extra="ignore")

    model: str
    parents: tuple[str, str]
    score: float = Field(ge=0, le=100)
    assumed_parents: bool = False


class RecordedKinship(Value):
    """A recorded kinship; `assumed` if it was not measured."""

    model_config = ConfigDict(extra="ignore")

    models: tuple[str, str]
    value: float
    assumed: bool = False


class Landscape(Value):
    """Recorded results of merges; see the module for the format."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1]
    name: str
    k: int = Field(default=3, ge=2)
    strategy: Literal["kinship", "greedy", "random"] = "kinship"
    max_generations: int = Field(default=10, ge=1)
    foundation: dict[str, float] = Field(min_length=2)
    children: tuple[RecordedMerge, ...] = ()
    kinship: tuple[RecordedKinship, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _each_pair_once(self) -> Self:
        pairs = [pair(*child.parents) for child in self.children]
        doubled = [item for item in pairs if pairs.count(item) > 1]
        if doubled:
            raise ValueError(f"two children of {' × '.join(doubled[0])}")
        names = [*self.foundation, *(child.model for child in self.children)]
        if len(set(names)) < len(names):
            raise ValueError("two models have one name")
        unknown = {name for child in self.children for name in child.parents} - set(names)
        if unknown:
            raise ValueError(f"unknown parents: {', '.join(sorted(unknown))}")
        return self

    @cached_property
    def child_of(self) -> dict[Pair, RecordedMerge]:
        """The recorded child of each unordered pair of parents."""
        return {pair(*child.parents): child for child in self.children}

    @cached_property
    def scores(self) -> dict[str, float]:
        """The score of every model, in points."""
        return {**self.foundation, **{child.model: child.score for child in self.children}}

    def matrix(self, metric: Metric) -> KinshipMatrix:
        """The recorded kinship, taken as values of `metric`."""
        return KinshipMatrix(
            metric, {pair(*reading.models): reading.value for reading in self.kinship}
        )
