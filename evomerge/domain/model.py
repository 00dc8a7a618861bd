"""The members of a run: foundation models and their offspring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from evomerge.domain.identity import content_id
from evomerge.domain.objective import Estimate, Objective, Worth
from evomerge.domain.race import Race
from evomerge.domain.recipe import Recipe
from evomerge.domain.scores import EvaluationWarning, Scores, Split
from evomerge.domain.value import Value

CandidateSet = Literal["grandparent_generation", "repository", "pool"]
"""Who may be the partner of the best model: models two generations before the child, all, S."""

PoolRule = Literal["top_k", "elites"]
"""Who is in S: the best k; or, besides, the best model of each task."""

Retention = Literal["all", "pool", "best"]
"""Whose weights a run keeps."""

KindName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Colour = Literal["blue", "orange", "green", "pink", "sky", "yellow"]


class MergeKind(Value):
    """Why a merge is made, as a strategy describes it and reports tell it.

    Attributes:
        name: in the journal; not `foundation`.
        label: of one such merge, as in a legend.
        colour: one that colour-blind eyes tell from the others, on light and on dark.
        of_all: it merges all foundation models for the sake of their weights, so that a high
            kinship of its parents is no reason to skip it.
    """

    name: KindName
    label: str = Field(min_length=1, max_length=60)
    colour: Colour
    of_all: bool = False


Stage = Literal["merge", "evaluation", "kinship"]
FROM_THE_HUB = "hub-"
"""Begins the content id of a hub model, before the commit."""


class Adapter(Value):
    """A LoRA adapter whose merge onto the base model is a foundation model.

    Attributes:
        content_id: of the adapter itself: the hub commit, or the digest of its files.
        engine: what merged it, with its version.
    """

    content_id: str
    engine: str

    def merged_onto(self, base: str) -> str:
        """The content id of the whole model; `base` is the base model's."""
        value = {"adapter": self.content_id, "base": base, "engine": self.engine}
        return content_id("adapter", 1, value)


class Foundation(Value):
    """A model that the user lists, or the base model, pinned to its content.

    Attributes:
        source: as the config names it: a hub id or a local path.
        content_id: the hub commit, or the digest of the files; of an adapter, that of the whole
            model that it is merged into, which lies in the store.
        vocabulary: rows of the input embedding.
        adapter: None for a model that is whole.
    """

    name: str
    source: str
    content_id: str
    vocabulary: int = Field(ge=1)
    adapter: Adapter | None = None

    @property
    def commit(self) -> str | None:
        """The commit of the hub that it is pinned to; None for a local folder."""
        pinned = self.adapter.content_id if self.adapter else self.content_id
        return pinned.removeprefix(FROM_THE_HUB) if pinned.startswith(FROM_THE_HUB) else None


class Coefficients(Value):
    """A merge over task vectors whose weights a strategy chose, in the place of the config's.

    The child is base + Σ weights[i] · task vector of parent i; with `ties` the task vectors are
    trimmed to the share `density` of their largest entries first and their signs elected.

    Attributes:
        weights: of each parent's task vector, in the order of the parents; not normalised.
        density: of `ties`; None for `task_arithmetic`.
    """

    method: Literal["task_arithmetic", "ties"]
    weights: tuple[float, ...] = Field(min_length=2)
    density: float | None = Field(default=None, gt=0, le=1)

    @classmethod
    def at(cls, weights: Sequence[float], density: float | None) -> Self:
        """Of these weights: TIES at a density, task arithmetic without one."""
        method: Literal["task_arithmetic", "ties"] = "ties" if density else "task_arithmetic"
        return cls(method=method, weights=tuple(weights), density=density)

    @model_validator(mode="after")
    def _density_of_ties(self) -> Self:
        if (self.method == "ties") != (self.density is not None):
            raise ValueError("a density belongs to ties, and to nothing else")
        return self


class Proposal(Value):
    """One merge that a strategy proposes, and why.

    Attributes:
        parents: names, the better-scoring one first (it becomes SLERP's base).
        mean_score: mean score of the parents in points.
        kinship: of the parents at the time of the choice (of more than two: the mean over their
            pairs); None when unknown or undefined.
        reason: one sentence for a reader.
        coefficients: in the place of the config's merge method and parameters.
    """

    kind: KindName
    parents: tuple[str, ...] = Field(min_length=2)
    mean_score: float
    kinship: float | None = None
    reason: str
    coefficients: Coefficients | None = None

    @model_validator(mode="after")
    def _a_weight_for_each_parent(self) -> Self:
        if self.coefficients and len(self.coefficients.weights) != len(self.parents):
            raise ValueError("coefficients need one weight for each parent")
        return self


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


class SkippedMerge(Value):
    """A merge that was due, and was skipped for good: its parents are too alike.

    Attributes:
        parents: names, in merge order.
        kinship: of the parents, as it was measured.
        above: the limit that it exceeds (`merge.skip_if_kinship_above`).
    """

    generation: int = Field(ge=1)
    kind: KindName
    parents: tuple[str, ...] = Field(min_length=2)
    kinship: float
    above: float

    @property
    def reason(self) -> str:
        """One sentence for a reader; as many digits as show that the limit is exceeded."""
        texts = (f"{self.kinship:.{digits}f}" for digits in range(3, 10))
        told = next((text for text in texts if float(text) > self.above), f"{self.kinship:.9g}")
        *others, last = self.parents
        return f"kinship {told} of {', '.join(others)} and {last} is above {self.above:g}"


@dataclass(frozen=True)
class Model:
    """One member of the run's population, scored or on its way.

    Attributes:
        kind: `foundation`, or that of its merge.
        generation: 0 for foundation models.
        content_id: id of its weights; for offspring, the id of the recipe.
        scores: scores on the selection items.
        held_out: results of held-out evaluation at the end of the run, by split.
        warnings: of its evaluations.
        race: that it lost; `scores` are then those on a split of the items.
        objectives: what "better" means in its run, on each split of the items; without, the mean.
    """

    name: str
    kind: str
    generation: int
    content_id: str
    parents: tuple[str, ...] = ()
    candidate: Candidate | None = None
    merged: bool = False
    scores: Scores | None = None
    failure: Failure | None = None
    held_out: Mapping[Split, Scores | Failure] = field(default_factory=dict)
    warnings: tuple[EvaluationWarning, ...] = ()
    race: Race | None = None
    objectives: Mapping[Split, Objective] = field(default_factory=dict)

    def on(self, split: Split) -> Scores | None:
        """Its scores on a split of the items; None where it has none."""
        scores = self.scores if split == "selection" else self.held_out.get(split)
        return scores if isinstance(scores, Scores) else None

    def objective(self, split: Split = "selection") -> Objective:
        """What "better" means on a split of the items."""
        return self.objectives.get(split, Objective())

    def estimate(self, split: Split = "selection") -> Estimate | None:
        """What its scores on a split of the items come to; None until that is known."""
        if self.race is not None and split == "selection":
            return Estimate(self.race.estimate, self.race.stderr)
        scores = self.on(split)
        return None if scores is None else self.objective(split).estimate(scores.tasks)

    @property
    def selection_gap(self) -> float | None:
        """Points by which the score that selection saw exceeds the held-out one.

        Of a model chosen for its score this is the winner's curse; of the others it is noise.
        """
        seen, held_out = self.estimate(), self.estimate("held_out")
        return None if seen is None or held_out is None else seen.value - held_out.value

    @property
    def score(self) -> float | None:
        """By the run's objective, in points; after a lost race its estimate; None until known."""
        return None if self._seen is None else self._seen.value

    @property
    def stderr(self) -> float | None:
        """The standard error of `score`."""
        return None if self._seen is None else self._seen.stderr

    @cached_property
    def worth(self) -> Worth | None:
        """What it is ranked by; None until its score is known."""
        if self.score is None or self.scores is None:
            return None
        if self.race is not None:
            return Worth(self.score)
        return self.objective().worth(self.scores.tasks)

    @cached_property
    def _seen(self) -> Estimate | None:
        return self.estimate()
