"""The models of a run: foundation models and their offspring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, StringConstraints, model_validator

from evomerge.domain.identity import content_id
from evomerge.domain.objective import Estimate, Objective, Worth
from evomerge.domain.race import Race
from evomerge.domain.recipe import Recipe
from evomerge.domain.scores import EvaluationWarning, Scores, Split
from evomerge.domain.value import Value

CandidateSet = Literal["grandparent_generation", "repository", "pool"]
"""Possible exploration partners: models two generations before the child, all models, or S."""

PoolRule = Literal["top_k", "elites"]
"""Members of S: the best k models; with `elites` also the best model of each task."""

Retention = Literal["all", "pool", "best"]
"""The models whose weights a run keeps."""

Disentangling = Literal["wudi", "regmean_pp"]
"""Merge methods that make disentangled task vectors (`merge_rules`), which are then summed."""

KindName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Colour = Literal["blue", "orange", "green", "pink", "sky", "yellow"]


class MergeKind(Value):
    """A kind of merges of a strategy, for journals and reports.

    Attributes:
        name: name in journals; not `foundation`.
        label: of one such merge, for legends.
        colour: from a palette that is safe for colour blindness, on light and dark backgrounds.
        of_all: merges of all foundation models with different coefficients, which are never skipped
            for a high kinship of the parents.
    """

    name: KindName
    label: str = Field(min_length=1, max_length=60)
    colour: Colour
    of_all: bool = False


Stage = Literal["merge", "evaluation", "kinship"]
FROM_THE_HUB = "hub-"
"""Prefix of the content ids of hub models, before the commit."""


class Adapter(Value):
    """A LoRA adapter that is merged onto the base model to make a foundation model.

    Attributes:
        content_id: of the adapter: its hub commit, or the digest of its files.
        engine: name and version of the library that merged it.
    """

    content_id: str
    engine: str

    def merged_onto(self, base: str) -> str:
        """The content id of the merged model; `base` is the content id of the base model."""
        value = {"adapter": self.content_id, "base": base, "engine": self.engine}
        return content_id("adapter", 1, value)


class Foundation(Value):
    """A foundation model or the base model, pinned to its content.

    Attributes:
        source: the hub id or local path in the config.
        content_id: the hub commit, or the digest of the files; for an adapter, the id of the merged
            model in the store.
        vocabulary: number of rows of the input embedding.
        adapter: None for a model with its own weights.
    """

    name: str
    source: str
    content_id: str
    vocabulary: int = Field(ge=1)
    adapter: Adapter | None = None

    @property
    def commit(self) -> str | None:
        """The hub commit that it is pinned to; None for a local folder."""
        pinned = self.adapter.content_id if self.adapter else self.content_id
        return pinned.removeprefix(FROM_THE_HUB) if pinned.startswith(FROM_THE_HUB) else None


class Coefficients(Value):
    """Merge weights chosen by a strategy, which replace the config's merge method and parameters.

    The child is base + Σ weights[i] · task vector of parent i; with `ties` the task vectors are
    first trimmed to the share `density` of their largest entries, with sign election; with a method
    of `Disentangling` the interference between them is removed first.

    Attributes:
        weights: one per parent, in their order; not normalised.
        density: for `ties`; None for the others.
    """

    method: Literal["task_arithmetic", "ties"] | Disentangling
    weights: tuple[float, ...] = Field(min_length=2)
    density: float | None = Field(default=None, gt=0, le=1)

    @classmethod
    def at(cls, weights: Sequence[float], density: float | None) -> Self:
        """TIES at a density, task arithmetic without one."""
        method: Literal["task_arithmetic", "ties"] = "ties" if density else "task_arithmetic"
        return cls(method=method, weights=tuple(weights), density=density)

    @property
    def disentangling(self) -> Disentangling | None:
        """The method that disentangles the task vectors; None for plain ones.

        The weights of each are a search space of their own.
        """
        return disentangling(self.method)

    def disentangled(self, method: Disentangling | None) -> Self:
        """The same weights over task vectors disentangled by `method`; unchanged without one."""
        return self.model_copy(update={"method": method, "density": None}) if method else self

    @model_validator(mode="after")
    def _density_of_ties(self) -> Self:
        if (self.method == "ties") != (self.density is not None):
            raise ValueError("ties needs a density, and no other method takes one")
        return self


def disentangling(method: str) -> Disentangling | None:
    """`method` if it disentangles task vectors, else None."""
    return next((each for each in get_args(Disentangling) if each == method), None)


class Proposal(Value):
    """A merge proposed by a strategy.

    Attributes:
        parents: names in merge order (the first is SLERP's base).
        mean_score: mean score of the parents, in points.
        kinship: mean over the pairs of parents; None if unknown or undefined.
        reason: one sentence for reports.
        coefficients: replace the config's merge method and parameters.
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
    """Why a merge or an evaluation failed."""

    stage: Stage
    reason: str
    attempts: int = Field(ge=1)


class SkippedMerge(Value):
    """A proposed merge that was skipped for good, since its parents are too similar.

    Attributes:
        parents: names, in merge order.
        kinship: of the parents.
        above: the limit (`merge.skip_if_kinship_above`).
    """

    generation: int = Field(ge=1)
    kind: KindName
    parents: tuple[str, ...] = Field(min_length=2)
    kinship: float
    above: float

    @property
    def reason(self) -> str:
        """One sentence for reports, with enough digits to show that the limit is exceeded."""
        texts = (f"{self.kinship:.{digits}f}" for digits in range(3, 10))
        shown = next((text for text in texts if float(text) > self.above), f"{self.kinship:.9g}")
        *others, last = self.parents
        return f"kinship {shown} of {', '.join(others)} and {last} is above {self.above:g}"


@dataclass(frozen=True)
class Model:
    """A model of a run, scored or not.

    Attributes:
        kind: `foundation`, or the kind of its merge.
        generation: 0 for foundation models.
        content_id: id of its weights; of offspring, the id of the recipe.
        merged_on, scored_on: the hosts of the workers, empty for that of the driver.
        scores: on the selection split.
        held_out: results of held-out evaluation, by split.
        race: a lost race (earlier versions); `scores` then cover only some of the items.
        kept_out: why the guard keeps it out of the search; None if it does not.
        objectives: the objective of the run on each split; default: the mean.
    """

    name: str
    kind: str
    generation: int
    content_id: str
    parents: tuple[str, ...] = ()
    candidate: Candidate | None = None
    merged: bool = False
    merged_on: str = ""
    scores: Scores | None = None
    scored_on: str = ""
    failure: Failure | None = None
    held_out: Mapping[Split, Scores | Failure] = field(default_factory=dict)
    warnings: tuple[EvaluationWarning, ...] = ()
    race: Race | None = None
    kept_out: str | None = None
    objectives: Mapping[Split, Objective] = field(default_factory=dict)

    def on(self, split: Split) -> Scores | None:
        """The scores on a split, if any."""
        scores = self.scores if split == "selection" else self.held_out.get(split)
        return scores if isinstance(scores, Scores) else None

    @property
    def selectable(self) -> bool:
        """Whether it may be the best model, in the pool, or a parent: scored and not kept out."""
        return self.scores is not None and self.kept_out is None

    @property
    def status(self) -> str:
        """What has become of it: failed, kept out, scored, merged or waiting."""
        if self.failure is not None:
            return "failed"
        if self.kept_out is not None:
            return "kept out"
        if self.scores is not None:
            return "scored"
        return "merged" if self.merged else "waiting"

    @property
    def perplexity(self) -> float | None:
        """The perplexity on the guard's text, per token; None if it was not measured."""
        measured = self.scores.perplexity if self.scores else None
        return None if measured is None else measured.value

    def objective(self, split: Split = "selection") -> Objective:
        """The objective of the run on a split."""
        return self.objectives.get(split, Objective())

    def estimate(self, split: Split = "selection") -> Estimate | None:
        """The objective's value on a split, with standard error; None if unknown."""
        if self.race is not None and split == "selection":
            return Estimate(self.race.estimate, self.race.stderr)
        scores = self.on(split)
        return None if scores is None else self.objective(split).estimate(scores.tasks)

    def score_on(self, split: Split) -> float | None:
        """The objective's value on a split, in points; None if unknown."""
        estimate = self.estimate(split)
        return None if estimate is None else estimate.value

    @property
    def selection_gap(self) -> float | None:
        """Score on the selection split minus held-out score, in points.

        For a model that was selected by its score this is the winner's curse, else it is noise.
        """
        seen, held_out = self.estimate(), self.estimate("held_out")
        return None if seen is None or held_out is None else seen.value - held_out.value

    @property
    def score(self) -> float | None:
        """The objective's value on the selection split, in points; None if unknown."""
        return None if self._seen is None else self._seen.value

    @property
    def stderr(self) -> float | None:
        """The standard error of `score`."""
        return None if self._seen is None else self._seen.stderr

    @cached_property
    def worth(self) -> Worth | None:
        """The sort key of rankings; None if the score is unknown or the model is kept out."""
        if self.score is None or self.scores is None or self.kept_out is not None:
            return None
        if self.race is not None:
            return Worth(self.score)
        return self.objective().worth(self.scores.tasks)

    @cached_property
    def _seen(self) -> Estimate | None:
        return self.estimate()
