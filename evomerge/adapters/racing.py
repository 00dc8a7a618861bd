"""Races in the store: what a lost one leaves, and the same verdict on whatever is found there.

A race that was lost is an artefact of its own beside the full evaluation, named by what decided
it. Whether a model is out is always read from its sample logs, so that a full evaluation that
another run left is judged as the race would have been.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evomerge.domain.errors import CandidateError, StoppedError
from evomerge.domain.race import Race
from evomerge.domain.scores import Scores, TaskScore
from evomerge.significance.race import Contest
from evomerge.significance.sequential import Results
from evomerge.store.artefacts import Made, Store
from evomerge.store.samples import NoItemsError, evaluation_name, item_values

Read = Callable[[Path], Scores]
Evaluate = Callable[[Path, Contest | None], Scores]
Cancelled = Callable[[], bool]


@dataclass(frozen=True)
class Rules:
    """How children race; see `evaluation.racing`."""

    error: float
    batches: tuple[float, ...]
    seed: int

    def contest(self, store: Store, name: str, content_id: str, scores: Scores) -> Contest:
        """Against a model whose full evaluation, of which `scores` count, is in the store.

        Raises:
            StoppedError: its items cannot be read.
        """
        artefact = evaluation_name(content_id, scores.evaluation_id)
        try:
            results = _results(store, artefact, scores, scores)
        except NoItemsError as error:
            raise StoppedError(
                f"no child can race against {name}: {error}", "set evaluation.racing to none"
            ) from None
        return Contest(name, content_id, scores, results, self.batches, self.seed, self.error)


class _LostError(Exception):
    """The race ended before all items were scored; its logs are in the store."""

    def __init__(self, made: Made) -> None:
        super().__init__(made.path.name)
        self.made = made


def raced(
    store: Store,
    content_id: str,
    contest: Contest,
    evaluate: Evaluate,
    read: Read,
    cancelled: Cancelled,
) -> tuple[Made, tuple[Scores, Race] | None]:
    """Have a model scored as far as the race goes; None where it is not out.

    Args:
        evaluate: writes the logs and scores of a race, or of all items, into an empty folder.
        read: everything measured that lies in a folder.

    Raises:
        CandidateError: what `evaluate` raises, or its results cannot be raced over.
    """
    full = evaluation_name(content_id, contest.scores.evaluation_id)
    lost = evaluation_name(content_id, contest.id)
    made = _made(store, full, lost, contest, evaluate, cancelled)
    name = full if made.path == store.path(full) else lost
    try:
        results = _results(store, name, read(made.path), contest.scores)
        outcome = contest.lost(results)
    except (NoItemsError, ValueError) as error:
        raise CandidateError(f"this evaluation cannot be raced: {error}") from None
    if outcome is None and name == lost:
        raise CandidateError(
            f"{made.path} holds a part of the items only, and the model is not out"
        )
    return made, outcome


def _made(
    store: Store,
    full: str,
    lost: str,
    contest: Contest,
    evaluate: Evaluate,
    cancelled: Cancelled,
) -> Made:
    """The artefact of the race: the full evaluation if there is one, or if it went to the end."""

    def race(into: Path) -> None:
        scores = evaluate(into, contest)
        if _asked(scores, contest) < len(contest.course.order):
            raise _LostError(store.obtain(lost, lambda aside: _move(into, aside), cancelled))

    def race_again(into: Path) -> None:
        if _asked(evaluate(into, contest), contest) == len(contest.course.order):
            raise CandidateError("a race that was lost before was not lost when it was run again")

    if store.holds(lost) and not store.holds(full):
        return store.obtain(lost, race_again, cancelled)
    try:
        return store.obtain(full, race, cancelled)
    except _LostError as stopped:
        return stopped.made


def _move(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        path.rename(target / path.name)


def _asked(measured: Scores, contest: Contest) -> int:
    return sum(score.samples for score in _counted(measured, contest.scores))


def _counted(measured: Scores, like: Scores) -> list[TaskScore]:
    """Of everything measured the metrics that count; tasks without an item scored have none."""
    wanted = {(task.task, task.metric, task.filter) for task in like.tasks}
    return [task for task in measured.tasks if (task.task, task.metric, task.filter) in wanted]


def _results(store: Store, artefact: str, measured: Scores, like: Scores) -> Results:
    counted = _counted(measured, like)
    return {task.task: item_values(store, artefact, task, task.filter) for task in counted}
