"""The executor: reuses what the store holds and sends the rest to a pool of workers.

Offspring are merged while others are scored. No decisions are made here, so the order of completion
does not matter; the store makes sure that every artefact is built once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from evomerge.config import Config
from evomerge.domain.errors import CandidateError, PreflightError, StoppedError
from evomerge.domain.events import (
    CandidateFailed,
    Event,
    HeldOutFailed,
    HeldOutScored,
    KinshipMeasured,
    ModelMerged,
    ModelScored,
)
from evomerge.domain.kinship import KinshipReading, Pair
from evomerge.domain.model import Failure, Model, Stage
from evomerge.domain.scores import EvaluationWarning, Scores, Split
from evomerge.domain.state import RunState
from evomerge.execution import operations
from evomerge.execution.attempts import GivenUpError, retry
from evomerge.execution.evaluation import Evaluation
from evomerge.execution.pipeline import Pipeline
from evomerge.execution.pool import Pool
from evomerge.execution.weights import Weights
from evomerge.ports import Observer
from evomerge.store.artefacts import Made, read_checked
from evomerge.store.atomic import write_atomic
from evomerge.store.samples import evaluation_name

T = TypeVar("T")

SCORES = "scores.json"
WARNINGS = "warnings.json"
_WARNINGS = TypeAdapter(tuple[EvaluationWarning, ...])


class StoreExecutor:
    """Implements the `Executor` port over the store and a pool of workers.

    Args:
        evaluation: the workers' description of the evaluation.
        base: content id of the base model.
    """

    def __init__(
        self,
        config: Config,
        evaluation: Evaluation,
        base: str,
        weights: Weights,
        pool: Pool,
        observer: Observer,
    ) -> None:
        self._config = config
        self._evaluation = evaluation
        self._base = base
        self._weights = weights
        self._store = weights.store
        self._pool = pool
        self._observer = observer
        self._failures_in_a_row = 0
        self._sampled = 0

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Score foundation models.

        Raises:
            PreflightError: one cannot be scored.
        """
        with closing(self._run(foundation, self._score)) as events:
            for event in events:
                if isinstance(event, CandidateFailed):
                    raise PreflightError(
                        f"foundation model {event.model} cannot be scored: {event.failure.reason}",
                        "every foundation model needs a score; fix it or remove it from the config",
                    )
                yield event

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Merge and score offspring; failures are events.

        Raises:
            StoppedError: the disk has no space for them, or too many failed in a row.
        """
        self._weights.resources.check_disk(self._weights.room(offspring))
        with closing(self._run(offspring, self._score)) as events:
            for event in events:
                yield event
                if isinstance(event, CandidateFailed):
                    self._count_failure(event)
                elif isinstance(event, ModelScored):
                    self._failures_in_a_row = 0

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """Measure the kinship of `pairs` in one operation.

        Raises:
            StoppedError: a model cannot be measured.
        """
        self._weights.remember(models)
        if not pairs:
            return
        started = time.monotonic()
        ids = {model.name: model.content_id for model in models}
        named = {name for pair in pairs for name in pair}
        read = [model for model in models if model.name in named]
        for model in read:
            self._weights.make(model)
        operation = operations.measure(
            self._base,
            [model.content_id for model in read],
            [(ids[a], ids[b]) for a, b in pairs],
            self._weights.folder,
            self._config.kinship.exclude,
            self._store.path(f"kinship/{self._base}"),
        )
        progress = partial(self._observer.on_progress, f"{len(pairs)} pairs", "kinship")
        try:
            answer, host = self._pool.run_near("", operation, progress)
        except CandidateError as error:
            raise StoppedError(f"kinship cannot be measured: {error.message}") from error
        readings = tuple(
            KinshipReading.model_validate({**reading, "models": pair})
            for pair, reading in zip(pairs, answer["readings"], strict=True)
        )
        seconds = time.monotonic() - started
        yield KinshipMeasured(readings=readings, seconds=seconds, host=host)

    def score_held_out(self, finalists: Sequence[Model], split: Split) -> Iterator[Event]:
        """Score models on `split`; failures are events."""
        with closing(self._run(finalists, partial(self._held_out, split))) as events:
            yield from events

    def prune(self, state: RunState) -> None:
        """Prune weights that neither this run nor another one of the runs folder needs.

        A sample of every model is stored first, for estimates of unmeasured kinship.
        """
        self._sample(state)
        self._weights.prune(state)

    def _sample(self, state: RunState) -> None:
        """Sample the scored models of new generations whose weights exist."""
        passes = self._store.path(f"kinship/{self._base}")
        new = [
            model.content_id
            for generation in state.generations[self._sampled :]
            for model in state.at_generation(generation.number)
            if model.scores is not None
            and self._weights.available(model)
            and not (passes / f"{model.content_id}.sample").exists()
        ]
        self._sampled = len(state.generations)
        if new:
            operation = operations.sample(self._base, new, self._weights.folder, passes)
            # An unreadable model is reported when a decision needs its kinship.
            with suppress(CandidateError):
                self._pool.run(operation, partial(self._observer.on_progress, "samples", "kinship"))

    def _run(
        self, models: Sequence[Model], score: Callable[[Model], Event]
    ) -> Generator[Event, None, None]:
        if not models:
            return
        self._weights.remember(models)
        pipeline = Pipeline(
            self._merge,
            score,
            len(self._pool.of("merge")),
            len(self._pool.of("score")),
            self._config.execution.merges_ahead,
            self._weights.resources.has_memory,
        )
        yield from pipeline.run(models, self._pool.close)

    def _count_failure(self, event: CandidateFailed) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._config.execution.max_failures:
            raise StoppedError(
                f"{self._failures_in_a_row} candidates failed in a row, "
                f"the last one for: {event.failure.reason}",
                "fix the cause, then resume the run",
            )

    def _attempt(self, stage: Stage, work: Callable[[], T]) -> T:
        """The result of `work` on a candidate, with retries.

        Raises:
            GivenUpError: the last attempt failed.
            StoppedError: it failed because the run is being stopped.
        """
        attempts = self._config.execution.attempts
        try:
            return retry(attempts, work, lambda: self._pool.closed)
        except CandidateError as error:
            if self._pool.closed:
                raise StoppedError("the run was stopped") from error
            reason = str(error.message)
            failure = Failure(stage=stage, reason=reason, attempts=attempts)
            raise GivenUpError(failure) from error

    def _merge(self, model: Model) -> Event | None:
        if model.candidate is None or model.merged:
            return None
        started = time.monotonic()
        reused = self._attempt("merge", partial(self._weights.make, model))
        seconds, host = time.monotonic() - started, self._weights.hosts.get(model.content_id, "")
        return ModelMerged(model=model.name, seconds=seconds, reused=reused, host=host)

    def _score(self, model: Model) -> Event:
        return ModelScored(model=model.name, **self._outcome(model, "selection"))

    def _held_out(self, split: Split, model: Model) -> Event:
        try:
            outcome = self._outcome(model, split)
        except GivenUpError as given_up:
            return HeldOutFailed(model=model.name, split=split, failure=given_up.failure)
        return HeldOutScored(model=model.name, split=split, **outcome)

    def _outcome(self, model: Model, split: Split) -> dict[str, Any]:
        """The fields of the event of an evaluation."""
        started = time.monotonic()
        made, scores, host = self._attempt("evaluation", partial(self._scored, model, split))
        return {
            "scores": scores,
            "seconds": time.monotonic() - started,
            "reused": made.reused,
            "host": host,
            "warnings": _warnings(made.path),
        }

    def _scored(self, model: Model, split: Split) -> tuple[Made, Scores, str]:
        """The artefact of the evaluation, those of its scores that count, and who did it."""
        name = evaluation_name(model.content_id, self._evaluation.ids[split])
        host = ""

        def build(into: Path) -> None:
            nonlocal host
            host = self._evaluate(model, split, into)

        made = self._store.obtain(name, build, lambda: self._pool.closed)
        measured = Scores.model_validate_json(read_checked(made.path, SCORES))
        return made, self._evaluation.chosen(measured, split), host

    def _evaluate(self, model: Model, split: Split, into: Path) -> str:
        """Score a model, write scores and logs to the folder `into`, and return the host."""
        config, evaluation_id = self._config, self._evaluation.ids[split]
        self._pool.start("merge", "score")
        operation = operations.score(
            config.evaluation,
            config.merge.options,
            split,
            self._weights.obtain(model),
            into,
            config.execution.timeout_seconds,
            self._evaluation.data_sets,
        )
        try:
            answer, host = self._pool.run_near(
                self._weights.hosts.get(model.content_id, ""),
                operation,
                partial(self._observer.on_progress, model.name, "score"),
            )
        except PreflightError as error:  # a restarted worker loads the tasks again
            raise CandidateError(error.message, error.remedy) from None
        if answer["evaluation_id"] != evaluation_id:
            raise CandidateError(
                "a task's definition or data, or a library, changed during the run"
            )
        scores = Scores.model_validate(answer)
        write_atomic(into / SCORES, scores.model_dump_json(indent=1))
        return host


def _warnings(evaluation: Path) -> tuple[EvaluationWarning, ...]:
    there = (evaluation / WARNINGS).is_file()
    return _WARNINGS.validate_json(read_checked(evaluation, WARNINGS)) if there else ()
