"""The executor of one machine: one merging thread a merger, one scoring thread an evaluator.

Children are merged while others are scored, and when the last one is merged their kinship is
measured while the rest is scored. Nothing is decided here, so the order of completion
does not matter; every artefact goes through the store, which makes it once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from evomerge.adapters.attempts import Attempts, Limits
from evomerge.adapters.kinship_ahead import KinshipAhead
from evomerge.adapters.pipeline import GivenUpError, Pipeline
from evomerge.adapters.room import Room
from evomerge.adapters.weights import Weights
from evomerge.domain.errors import CandidateError, PreflightError, StoppedError
from evomerge.domain.events import (
    CandidateFailed,
    ConfirmationFailed,
    Event,
    KinshipMeasured,
    ModelConfirmed,
    ModelMerged,
    ModelScored,
)
from evomerge.domain.kinship import KinshipReading, Pair
from evomerge.domain.model import Model
from evomerge.domain.retention import needed, unneeded
from evomerge.domain.scores import EvaluationWarning, Part, Scores
from evomerge.domain.state import RunState
from evomerge.ports import Evaluator, KinshipMeter, Merger, Observer, Progress
from evomerge.store.artefacts import Made, Store, read_checked
from evomerge.store.atomic import make_folder, write_atomic
from evomerge.store.samples import evaluation_name

SCORES = "scores.json"
WARNINGS = "warnings.json"
_WARNINGS = TypeAdapter(tuple[EvaluationWarning, ...])


class LocalExecutor:
    """Implements the `Executor` port over a merger, evaluators, a kinship meter and the store."""

    def __init__(
        self,
        *,
        store: Store,
        mergers: Sequence[Merger],
        evaluators: Sequence[Evaluator],
        meter: KinshipMeter,
        folders: Mapping[str, Path],
        limits: Limits,
        observer: Observer,
        room: Room | None = None,
        needed_elsewhere: Callable[[], set[str]] = set,
        warm_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Sweep what killed drivers left in the store, and be ready.

        Args:
            folders: the folder of the base and of every foundation model by content id.
            room: what merges leave free; all may be taken if None.
            needed_elsewhere: the content ids whose weights other runs need.
            warm_up: called once, as soon as there is something to merge or to score.
        """
        make_folder(store.root)
        store.sweep()
        self._store = store
        self._mergers = mergers
        self._evaluators = evaluators
        self._meter = meter
        self._limits = limits
        self._observer = observer
        self._room = room or Room(store.root)
        self._ahead = KinshipAhead(meter)
        self._kept: list[Model] = []
        self._needed_elsewhere = needed_elsewhere
        self._warm_up = warm_up
        self._warm = False
        self._cancelled = threading.Event()
        self._attempts = Attempts(limits, self._cancelled.is_set)
        self._weights = Weights(store, folders, self._cancelled.is_set, self._get_warm)

    def close(self) -> None:
        """End every child process; work in flight fails and is not recorded."""
        self._cancelled.set()
        close_all([*self._mergers, *self._evaluators, self._meter])

    def score(self, foundation: Sequence[Model]) -> Iterator[Event]:
        """Score foundation models; one that fails is a preflight fault of the run."""
        with closing(self._pipeline(foundation)) as events:
            for event in events:
                if isinstance(event, CandidateFailed):
                    raise PreflightError(
                        f"foundation model {event.model} cannot be scored: {event.failure.reason}",
                        "every foundation model needs a score; mend it or take it out",
                    )
                yield event

    def breed(self, offspring: Sequence[Model]) -> Iterator[Event]:
        """Merge and score offspring; a failed one is an event.

        Raises:
            StoppedError: the disk has no room for them, or too many failed in a row.
        """
        self._room.check_disk(sum(not self._weights.at_hand(model) for model in offspring))
        with closing(self._pipeline(offspring)) as events:
            for event in events:
                yield event
                if isinstance(event, CandidateFailed):
                    self._attempts.failed(event)
                elif isinstance(event, ModelScored):
                    self._attempts.succeeded()

    def measure(self, models: Sequence[Model], pairs: Sequence[Pair]) -> Iterator[Event]:
        """Measure the kinship of `pairs` in one call.

        Raises:
            StoppedError: a model cannot be measured.
        """
        self.remember(models)
        self._ahead.wait()
        if not pairs:
            return
        started = time.monotonic()
        ids = {model.name: model.content_id for model in models}
        needed = {name for pair in pairs for name in pair}
        folders = {
            model.content_id: self.weights(model) for model in models if model.name in needed
        }
        progress = partial(self._observer.progressed, f"{len(pairs)} pairs", "kinship")
        try:
            measured = self._meter.measure(folders, [(ids[a], ids[b]) for a, b in pairs], progress)
        except CandidateError as error:
            raise StoppedError(f"kinship cannot be measured: {error.message}") from error
        readings = tuple(
            KinshipReading(**{**reading.model_dump(), "models": pair})
            for pair, reading in zip(pairs, measured, strict=True)
        )
        yield KinshipMeasured(readings=readings, seconds=time.monotonic() - started)

    def confirm(self, finalists: Sequence[Model], part: Part) -> Iterator[Event]:
        """Score models on `part`; a failed one is an event."""
        evaluators = [evaluator.on(part) for evaluator in self._evaluators]
        confirm = partial(self._confirm, part)
        with closing(self._run(finalists, confirm, evaluators)) as events:
            yield from events

    def prune(self, state: RunState) -> None:
        """Let go of the weights that neither this run nor another one of the folder needs."""
        kept = [state.models[name] for name in sorted(needed(state))]
        self._kept = [model for model in kept if model.scores is not None]
        wanted = {model.content_id for model in kept}
        gone = {state.models[name].content_id for name in unneeded(state)} - wanted
        if gone:
            gone -= self._needed_elsewhere()
        self._weights.prune(gone)

    def _pipeline(self, models: Sequence[Model]) -> Generator[Event, None, None]:
        if not models:
            return
        with closing(self._run(models, self._score, self._evaluators)) as events:
            unmerged = {model.name for model in models if model.candidate and not model.merged}
            if not unmerged:
                self._measure_ahead(models)
            for event in events:
                if isinstance(event, ModelMerged | CandidateFailed) and event.model in unmerged:
                    unmerged.remove(event.model)
                    if not unmerged:
                        self._measure_ahead(models)
                yield event

    def _run(
        self,
        models: Sequence[Model],
        score: Callable[[Model, Evaluator], Event],
        evaluators: Sequence[Evaluator],
    ) -> Generator[Event, None, None]:
        self.remember(models)
        pipeline = Pipeline(
            self._merge,
            score,
            self._mergers,
            evaluators,
            self._limits.merges_ahead,
            self._room.has_memory,
        )
        return pipeline.run(models, self.close)

    def _measure_ahead(self, models: Sequence[Model]) -> None:
        """Let the kinship of `models`, and to those before them, be measured in the background."""
        folders = {
            model.content_id: self._weights.folder(model.content_id)
            for model in (*self._kept, *models)
            if self._weights.at_hand(model)
        }
        progress = partial(self._observer.progressed, f"{len(folders)} models", "kinship")
        self._ahead.start(folders, progress)

    def _merge(self, model: Model, merger: Merger) -> Event | None:
        if model.candidate is None or model.merged:
            return None
        if not self._weights.at_hand(model):
            self._room.check_disk(1)
        started = time.monotonic()
        recipe, progress = model.candidate.recipe, self._progress(model, "merge")
        made = partial(self._weights.made, recipe, merger, progress)
        reused = self._attempts.of("merge", merger.close, made)
        return ModelMerged(model=model.name, seconds=time.monotonic() - started, reused=reused)

    def _score(self, model: Model, evaluator: Evaluator) -> Event:
        return ModelScored(model=model.name, **self._outcome(model, evaluator))

    def _confirm(self, part: Part, model: Model, evaluator: Evaluator) -> Event:
        try:
            outcome = self._outcome(model, evaluator)
        except GivenUpError as given_up:
            return ConfirmationFailed(model=model.name, part=part, failure=given_up.failure)
        return ModelConfirmed(model=model.name, part=part, **outcome)

    def _outcome(self, model: Model, evaluator: Evaluator) -> dict[str, Any]:
        """What the event of an evaluation tells."""
        started = time.monotonic()
        scored = partial(self._scored, model, evaluator)
        made, scores = self._attempts.of("evaluation", evaluator.close, scored)
        return {
            "scores": scores,
            "seconds": time.monotonic() - started,
            "reused": made.reused,
            "warnings": _warnings(made.path),
        }

    def _scored(self, model: Model, evaluator: Evaluator) -> tuple[Made, Scores]:
        """The folder of the evaluation, and of its scores those that count."""
        name = evaluation_name(model.content_id, evaluator.evaluation_id)

        def build(into: Path) -> None:
            self._get_warm()
            folder, progress = self.weights(model), self._progress(model, "score")
            scores = evaluator.evaluate(folder, into, progress)
            write_atomic(into / SCORES, scores.model_dump_json(indent=1))

        made = self._store.obtain(name, build, self._cancelled.is_set)
        return made, evaluator.chosen(_measured(made.path))

    def remember(self, models: Iterable[Model]) -> None:
        """Learn recipes, so that any ancestor can be made again."""
        self._weights.remember(models)

    def weights(self, model: Model) -> Path:
        """The folder of a model; pruned or lost weights are made again from the recipe."""
        if model.candidate is not None:
            recipe, progress = model.candidate.recipe, self._progress(model, "merge")
            self._weights.made(recipe, self._mergers[0], progress)
        return self._weights.folder(model.content_id)

    def _get_warm(self) -> None:
        if not self._warm and not self._cancelled.is_set():
            self._warm = True
            self._warm_up()

    def _progress(self, model: Model, activity: str) -> Progress:
        return partial(self._observer.progressed, model.name, activity)


def close_all(parts: Sequence[Merger | Evaluator | KinshipMeter]) -> None:
    """Close parts at the same time: a process that is importing takes a while to let go."""
    with ThreadPoolExecutor(max(1, len(parts)), "close") as threads:
        list(threads.map(lambda part: part.close(), parts))


def _measured(evaluation: Path) -> Scores:
    return Scores.model_validate_json(read_checked(evaluation, SCORES))


def _warnings(evaluation: Path) -> tuple[EvaluationWarning, ...]:
    there = (evaluation / WARNINGS).is_file()
    return _WARNINGS.validate_json(read_checked(evaluation, WARNINGS)) if there else ()
