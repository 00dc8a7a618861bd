"""What can happen in a run. The journal is a list of these; the state is their fold.

An event says that something is done, never that it is about to be: artefact first, event second.
`seconds` and `reused` are for the reader; no decision depends on them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, TypeAdapter

from evomerge.domain.difference import Gains
from evomerge.domain.kinship import KinshipReading, Metric
from evomerge.domain.model import (
    Candidate,
    CandidateSet,
    Failure,
    Foundation,
    MergeKind,
    PoolRule,
    Retention,
    SkippedMerge,
)
from evomerge.domain.objective import ObjectiveName
from evomerge.domain.race import Race
from evomerge.domain.scores import SPLIT_NAMES, EvaluationWarning, Scores, Split
from evomerge.domain.value import Value


class RunStarted(Value):
    """The first event of every run: what it evolves and under which settings.

    `config_id` identifies the settings that change results; `versions` those of the libraries;
    `candidates` says who exploration may choose, which decides whose weights are kept; `kinds`
    describes the merges of a strategy from another package; `pool` says who is in S;
    `held_out_splits` on what the best and the foundation models are scored at the end; `objective`
    what "better" means (the mean in journals that do not say so); `skill_kept_at` from which share
    of the best foundation model's score on a task its skill counts as kept.
    """

    type: Literal["run_started"] = "run_started"
    name: str
    seed: int
    k: int
    strategy: str
    metric: Metric
    base: Foundation
    foundation: tuple[Foundation, ...]
    config_id: str
    versions: dict[str, str] = Field(default_factory=dict)
    retention: Retention = "all"
    candidates: CandidateSet = "grandparent_generation"
    kinds: tuple[MergeKind, ...] = ()
    pool: PoolRule = "top_k"
    held_out_splits: tuple[Split, ...] = Field(
        default=(), validation_alias=AliasChoices("held_out_splits", "confirmation")
    )
    objective: ObjectiveName = "mean"
    skill_kept_at: float = 0.8


class RunResumed(Value):
    """A driver took the run up again; the clock of `max_hours` goes on from here.

    `drift` names what had changed since the start and was accepted.
    """

    type: Literal["run_resumed"] = "run_resumed"
    versions: dict[str, str] = Field(default_factory=dict)
    drift: tuple[str, ...] = ()
    retention: Retention | None = None
    skill_kept_at: float | None = None


class ModelMerged(Value):
    """The weights of a candidate are complete in the store."""

    type: Literal["model_merged"] = "model_merged"
    model: str
    seconds: float
    reused: bool = False


class ModelScored(Value):
    """A model was scored; the evaluation is complete in the store.

    With `race` it was stopped early, and `scores` are those on the items of the race.
    """

    type: Literal["model_scored"] = "model_scored"
    model: str
    scores: Scores
    seconds: float
    reused: bool = False
    warnings: tuple[EvaluationWarning, ...] = ()
    race: Race | None = None


class CandidateFailed(Value):
    """A candidate failed for good: it is never selected, and its pair is not tried again."""

    type: Literal["candidate_failed"] = "candidate_failed"
    model: str
    failure: Failure


class KinshipMeasured(Value):
    """New kinship readings, each pair once in a run."""

    type: Literal["kinship_measured"] = "kinship_measured"
    readings: tuple[KinshipReading, ...]
    seconds: float
    reused: bool = False


class GenerationProposed(Value):
    """The strategy chose the merges of a generation."""

    type: Literal["generation_proposed"] = "generation_proposed"
    generation: int = Field(ge=1)
    candidates: tuple[Candidate, ...]


class MergesSkipped(Value):
    """Merges that the strategy wants next and that are not made; the run never proposes them again.

    The strategy chooses anew without them, so that other pairs take their places.
    """

    type: Literal["merges_skipped"] = "merges_skipped"
    merges: tuple[SkippedMerge, ...] = Field(min_length=1)


class GenerationFinished(Value):
    """Every candidate of a generation is scored or failed; the new pool, best first.

    `stop` names the criterion that ends the run, None when it goes on.
    """

    type: Literal["generation_finished"] = "generation_finished"
    generation: int = Field(ge=0)
    pool: tuple[str, ...]
    stop: str | None = None


class HeldOutScored(Value):
    """At the end of the search a model was scored on what the search never saw."""

    type: Literal["model_confirmed"] = "model_confirmed"
    model: str
    split: Split = Field(validation_alias=SPLIT_NAMES)
    scores: Scores
    seconds: float
    reused: bool = False
    warnings: tuple[EvaluationWarning, ...] = ()


class HeldOutFailed(Value):
    """A model could not be scored on a split at the end; the run is worth no less for it."""

    type: Literal["confirmation_failed"] = "confirmation_failed"
    model: str
    split: Split = Field(validation_alias=SPLIT_NAMES)
    failure: Failure


class GainsTested(Value):
    """The search has ended; whether the best model's gains are more than chance.

    No decision depends on it, so the digest leaves it out.
    """

    type: Literal["gains_tested"] = "gains_tested"
    gains: Gains


class RunFinished(Value):
    """The run is at its end; nothing follows."""

    type: Literal["run_finished"] = "run_finished"
    best: str
    stop: str


Event = Annotated[
    RunStarted
    | RunResumed
    | ModelMerged
    | ModelScored
    | CandidateFailed
    | KinshipMeasured
    | GenerationProposed
    | MergesSkipped
    | GenerationFinished
    | HeldOutScored
    | HeldOutFailed
    | GainsTested
    | RunFinished,
    Field(discriminator="type"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
