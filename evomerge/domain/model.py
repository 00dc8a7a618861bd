"""The members of a run: foundation models and their offspring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from evomerge.domain.recipe import Recipe
from evomerge.domain.scores import Scores
from evomerge.domain.value import Value

Kind = Literal["foundation", "greedy", "exploration"]
Stage = Literal["merge", "evaluation", "kinship"]


class Foundation(Value):
    """A model that the user lists, or the base model, pinned to its content.

    Attributes:
        source: as the config names it: a hub id or a local path.
        content_id: the hub commit, or the digest of the files.
        vocabulary: rows of the input embedding.
    """

    name: str
    source: str
    content_id: str
    vocabulary: int = Field(ge=1)


class Proposal(Value):
    """One merge that a strategy proposes, and why.

    Attributes:
        parents: names, the better-scoring one first (it becomes SLERP's base).
        mean_score: mean score of the parents in points.
        kinship: of the parents at the time of the choice; None when unknown or undefined.
        reason: one sentence for a reader.
    """

    kind: Literal["greedy", "exploration"]
    parents: tuple[str, ...] = Field(min_length=2)
    mean_score: float
    kinship: float | None = None
    reason: str


class Candidate(Value):
    """A proposal with the name of its child and the recipe that makes it."""

    name: str
    proposal: Proposal
    recipe: Recipe


class Failure(Value):
    """Why a candidate gave no score."""

    stage: Stage
    reason: str
    attempts: int = Field(ge=1)


@dataclass(frozen=True)
class Model:
    """One member of the run's population, scored or on its way.

    Attributes:
        generation: 0 for foundation models.
        content_id: of its weights; an offspring's is the id of its recipe.
    """

    name: str
    kind: Kind
    generation: int
    content_id: str
    parents: tuple[str, ...] = ()
    candidate: Candidate | None = None
    merged: bool = False
    scores: Scores | None = None
    failure: Failure | None = None

    @property
    def score(self) -> float | None:
        """The aggregate score in points; None until it is scored."""
        return None if self.scores is None else self.scores.aggregate
