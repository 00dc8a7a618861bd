"""The events of a run. The journal is a list of them; the state is their fold.

Events record completed work: artefact first, event second. `seconds` (duration) and `reused` (the
artefact was already in the store) are for reports; no decision depends on them. Neither on `host`,
the machine of the worker, which is empty, and not in the journal, for the driver's own.
"""

from __future__ import annotations

from operator import not_
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, TypeAdapter, model_validator

from evomerge.domain.calibration import Calibration
from evomerge.domain.difference import Gains
from evomerge.domain.guard import Guard
from evomerge.domain.kinship import KinshipReading, Metric
from evomerge.domain.limits import Limits
from evomerge.domain.model import (
    Candidate,
    CandidateSet,
    Disentangling,
    Failure,
    Foundation,
    MergeKind,
    PoolRule,
    Retention,
    SkippedMerge,
    disentangling,
)
from evomerge.domain.objective import ObjectiveName
from evomerge.domain.race import Race
from evomerge.domain.scores import SPLIT_NAMES, EvaluationWarning, Scores, Split
from evomerge.domain.value import Value

Host = Annotated[str, Field(exclude_if=not_)]


class RunStarted(Value):
    """The first event of every run: its models and settings.

    Attributes:
        metric: of kinship.
        config_id: id of the settings that can change results.
        versions: of the libraries that determine results.
        candidates: possible exploration partners, whose weights are kept.
        kinds: the kinds of merges of a plug-in strategy.
        merge_method: the config's merge method; empty in journals of earlier versions.
        batch_size: of evaluations, where a probe chose it.
        held_out_splits: splits on which the best and the foundation models are scored at the end.
        skill_kept_at: see `evomerge.domain.skills`.
        data_sets: the hub commits of the tasks' data sets, by name.
        guard: None without one.
        calibration: None where merges learn from no data.
        budget: the limits among the stopping criteria; empty in journals of earlier versions.
        gpus: the number that this session of the run uses.
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
    merge_method: str = ""
    pool: PoolRule = "top_k"
    held_out_splits: tuple[Split, ...] = Field(
        default=(), validation_alias=AliasChoices("held_out_splits", "confirmation")
    )
    batch_size: int | None = None
    objective: ObjectiveName = "mean"
    skill_kept_at: float = 0.8
    data_sets: dict[str, str] = Field(default_factory=dict)
    guard: Guard | None = None
    calibration: Calibration | None = None
    budget: Limits = Limits()
    gpus: int = 0

    @property
    def disentangling(self) -> Disentangling | None:
        """The merge method, if it disentangles the task vectors that strategies weigh."""
        return disentangling(self.merge_method)


class RunResumed(Value):
    """The run was resumed; the clock of `max_hours` continues here.

    Attributes:
        drift: accepted changes since the start, such as library versions.
        budget: the limits from here on; None in journals of earlier versions.
        extends: a finished run goes on, and `budget` replaces the config's stopping criteria.
        gpus: the number that this session of the run uses.
    """

    type: Literal["run_resumed"] = "run_resumed"
    versions: dict[str, str] = Field(default_factory=dict)
    drift: tuple[str, ...] = ()
    retention: Retention | None = None
    skill_kept_at: float | None = None
    budget: Limits | None = None
    extends: bool = False
    gpus: int = 0

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, event: Any) -> Any:
        """Extensions were told as `max_evaluations` alone."""
        if not isinstance(event, dict) or "max_evaluations" not in event:
            return event
        most = event["max_evaluations"]
        rest = {key: value for key, value in event.items() if key != "max_evaluations"}
        return (
            rest
            if most is None
            else rest | {"extends": True, "budget": Limits(max_evaluations=most)}
        )


class ModelMerged(Value):
    """A candidate was merged; its weights are complete in the store."""

    type: Literal["model_merged"] = "model_merged"
    model: str
    seconds: float
    reused: bool = False
    host: Host = ""


class ModelScored(Value):
    """A model was scored; the evaluation is complete in the store.

    With `race` (earlier versions) it was stopped early, and `scores` cover the race's items only.
    """

    type: Literal["model_scored"] = "model_scored"
    model: str
    scores: Scores
    seconds: float
    reused: bool = False
    host: Host = ""
    warnings: tuple[EvaluationWarning, ...] = ()
    race: Race | None = None


class CandidateFailed(Value):
    """A candidate failed after all attempts: it is never selected, its parents count as tried."""

    type: Literal["candidate_failed"] = "candidate_failed"
    model: str
    failure: Failure


class KinshipMeasured(Value):
    """New kinship readings; each pair is measured once in a run."""

    type: Literal["kinship_measured"] = "kinship_measured"
    readings: tuple[KinshipReading, ...]
    seconds: float
    reused: bool = False
    host: Host = ""


class GenerationProposed(Value):
    """The strategy chose the merges of a generation."""

    type: Literal["generation_proposed"] = "generation_proposed"
    generation: int = Field(ge=1)
    candidates: tuple[Candidate, ...]


class MergesSkipped(Value):
    """Proposed merges that are skipped for good, since their parents are too similar.

    The strategy then proposes the generation again without them.
    """

    type: Literal["merges_skipped"] = "merges_skipped"
    merges: tuple[SkippedMerge, ...] = Field(min_length=1)


class GenerationFinished(Value):
    """Every candidate of a generation was scored or failed.

    Attributes:
        pool: names of the new pool, best first.
        stop: the criterion that ends the search, or None.
    """

    type: Literal["generation_finished"] = "generation_finished"
    generation: int = Field(ge=0)
    pool: tuple[str, ...]
    stop: str | None = None


class HeldOutScored(Value):
    """A model was scored on a held-out split at the end of the search."""

    type: Literal["model_confirmed"] = "model_confirmed"
    model: str
    split: Split = Field(validation_alias=SPLIT_NAMES)
    scores: Scores
    seconds: float
    reused: bool = False
    host: Host = ""
    warnings: tuple[EvaluationWarning, ...] = ()


class HeldOutFailed(Value):
    """Held-out evaluation of a model failed, which does not affect the result of the search."""

    type: Literal["confirmation_failed"] = "confirmation_failed"
    model: str
    split: Split = Field(validation_alias=SPLIT_NAMES)
    failure: Failure


class GainsTested(Value):
    """The significance of the best model's gains; not part of the decision digest."""

    type: Literal["gains_tested"] = "gains_tested"
    gains: Gains


class RunFinished(Value):
    """The last event of a run: the name of the best model and why the search ended."""

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
