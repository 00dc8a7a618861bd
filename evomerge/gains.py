"""The gains of a run and their significance, from paired comparisons of stored per-item results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from evomerge.configfile import load_recorded
from evomerge.domain.difference import Gains, ModelComparison
from evomerge.domain.errors import ConfigError, DamagedError
from evomerge.domain.model import Model
from evomerge.domain.objective import Objective
from evomerge.domain.scores import Scores, Split
from evomerge.domain.state import RunState
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import RunDirectory
from evomerge.store.samples import NoItemsError, evaluation_name, item_values

if TYPE_CHECKING:  # numpy is imported when something is compared
    from evomerge.significance.paired import Pairs

Relation = Literal["foundation", "parent", "model"]
Matches = Sequence[tuple[Model, Model, Relation]]


def filters_of(run: RunDirectory) -> dict[str, str | None]:
    """The filter that counts for each task of a run; empty without a readable config."""
    try:
        tasks = load_recorded(run.config).evaluation.tasks
    except ConfigError:
        return {}
    return {task.name: task.filter for task in tasks}


class ItemResults:
    """Per-item results of models; each log is read once.

    Args:
        filters: lm-eval's filter for each task, None if it has only one.
        scores_of: the scores of a model on the compared split.
    """

    def __init__(
        self,
        store: Store,
        filters: Mapping[str, str | None],
        scores_of: Callable[[Model], Scores | None],
    ) -> None:
        self._store = store
        self._filters = filters
        self._scores_of = scores_of
        self._read: dict[tuple[str, str], dict[int, float]] = {}

    def pairs(self, a: Model, b: Model) -> tuple[list[Pairs], list[str]]:
        """(paired results per task, one sentence per task that has none).

        Items are paired by their position in the task. Both models need the same evaluation id.
        """
        ours, theirs = self._scores_of(a), self._scores_of(b)
        if ours is None or theirs is None:
            unscored = a.name if ours is None else b.name
            return [], [f"{a.name} against {b.name}: {unscored} has no scores on these items"]
        if ours.evaluation_id != theirs.evaluation_id:
            return [], [f"{a.name} against {b.name}: they were scored under different settings"]
        found: list[Pairs] = []
        missing: list[str] = []
        for task in ours.tasks:
            try:
                found.append(self._task(a, b, ours, theirs, task.task))
            except NoItemsError as error:
                missing.append(f"{a.name} against {b.name}: {error}")
        return found, missing

    def _task(self, a: Model, b: Model, ours: Scores, theirs: Scores, task: str) -> Pairs:
        import numpy as np

        from evomerge.significance.paired import Pairs

        first, second = self._items(a, ours, task), self._items(b, theirs, task)
        if first.keys() != second.keys():
            raise NoItemsError(
                f"task {task!r}: they were scored on different items ({len(first)}, {len(second)})"
            )
        order = sorted(first)
        weight = next(score.weight for score in ours.tasks if score.task == task)
        return Pairs(
            task,
            weight,
            np.array([first[item] for item in order]),
            np.array([second[item] for item in order]),
        )

    def _items(self, model: Model, scores: Scores, task: str) -> dict[int, float]:
        name = evaluation_name(model.content_id, scores.evaluation_id)
        if (name, task) not in self._read:
            score = next((each for each in scores.tasks if each.task == task), None)
            if score is None:
                raise NoItemsError(f"{model.name} was not scored on task {task!r}")
            try:
                chosen = score.filter or self._filters.get(task)
                values = item_values(self._store, name, score, chosen)
            except NoItemsError as error:
                raise NoItemsError(f"{model.name}: {error}") from None
            except DamagedError as error:
                raise NoItemsError(f"{model.name}: {error.message}") from None
            self._read[name, task] = values
        return self._read[name, task]


def split_of_best(state: RunState) -> Split:
    """`held_out` if the best model was scored on it, else `selection`."""
    known = state.best is not None and state.best.on("held_out")
    return "held_out" if known else "selection"


def matches_of_best(state: RunState) -> Matches:
    """The best model against every foundation model, best first, then against its parents.

    Parents without scores on the compared split are left out.
    """
    best, split = state.best, split_of_best(state)
    if best is None:
        return []
    foundation: list[tuple[Model, Model, Relation]] = [
        (best, model, "foundation")
        for model in state.ranking
        if model.generation == 0 and model is not best
    ]
    parents: list[tuple[Model, Model, Relation]] = [
        (best, state.models[name], "parent")
        for name in best.parents
        if state.models[name].generation and state.models[name].on(split)
    ]
    return foundation + parents


def gains_of_best(state: RunState, store: Store, filters: Mapping[str, str | None]) -> Gains | None:
    """The gains recorded at the end of a run, without tasks; None if there are no matches."""
    split, matches = split_of_best(state), matches_of_best(state)
    if not matches:
        return None
    results = ItemResults(store, filters, lambda model: model.on(split))
    gains = compare(results, matches, split, state.objectives[split])
    brief = (each.model_copy(update={"tasks": ()}) for each in gains.comparisons)
    return gains.model_copy(update={"comparisons": tuple(brief)})


def compare(results: ItemResults, matches: Matches, split: Split, objective: Objective) -> Gains:
    """Compare all matches by an objective, with Holm's correction of p over all of them."""
    from evomerge.significance.holm import holm

    made: list[ModelComparison] = []
    missing: list[str] = []
    for a, b, relation in matches:
        pairs, left_out = results.pairs(a, b)
        missing += left_out
        if pairs and not objective.known:
            missing.append(f"{a.name} against {b.name}: not all foundation models are scored on it")
        elif pairs:
            made.append(_comparison(a, b, relation, pairs, objective))
    corrected = holm([each.difference.p for each in made])
    comparisons = (
        each.model_copy(update={"corrected": p}) for each, p in zip(made, corrected, strict=True)
    )
    return Gains(
        split=split,
        comparisons=tuple(comparisons),
        missing=_once(missing),
        objective=objective.name,
    )


def _comparison(
    a: Model, b: Model, relation: Relation, pairs: Sequence[Pairs], objective: Objective
) -> ModelComparison:
    from evomerge.significance.paired import overall, task_difference

    difference = overall(pairs, objective)
    return ModelComparison(
        a=a.name,
        b=b.name,
        relation=relation,
        difference=difference,
        corrected=difference.p,
        tasks=tuple(task_difference(each) for each in pairs),
    )


def _once(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentences))
