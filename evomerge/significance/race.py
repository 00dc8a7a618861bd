"""A race of a model against a reference: the sequential test over the items of an evaluation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from evomerge.domain.identity import content_id
from evomerge.domain.race import Race
from evomerge.domain.scores import Scores, TaskScore
from evomerge.significance.sequential import Course, Results, Verdict, course, verdict

_Z95 = 1.959964


@dataclass(frozen=True)
class Contest:
    """What a model races against, and under which rules.

    Attributes:
        reference: name of the model that it must exceed.
        content_id: of the reference.
        scores: of the reference: the tasks, metrics, filters and weights that count.
        results: of the reference on every item, in [0, 1].
        batches: shares of the items after which it is asked whether to go on.
        seed: of the order of the items.
        error: the rate at which a model that exceeds the reference is wrongly stopped, at most.
    """

    reference: str
    content_id: str
    scores: Scores
    results: Results
    batches: tuple[float, ...]
    seed: int
    error: float

    @cached_property
    def course(self) -> Course:
        """The order of the items, the same for every model of an evaluation."""
        return course(self.results, self.batches, self.seed)

    @cached_property
    def id(self) -> str:
        """Of everything but the model that decides where a race stops."""
        counted = [(task.task, task.metric, task.filter, task.weight) for task in self.scores.tasks]
        settings = {
            "evaluation": self.scores.evaluation_id,
            "reference": self.content_id,
            "counted": [list(each) for each in counted],
            "error": self.error,
        }
        return content_id("race", 1, settings)

    def verdict(self, results: Results) -> Verdict:
        """What a model's results say; those beyond the deciding look are not asked.

        Raises:
            ValueError: a result lies outside [0, 1], or not even the first look's are there.
        """
        for task, values in results.items():
            wrong = next((value for value in values.values() if not 0 <= value <= 1), None)
            if wrong is not None:
                raise ValueError(f"an item of task {task!r} scored {wrong:g}, not between 0 and 1")
        weights = {task.task: task.weight for task in self.scores.tasks}
        return verdict(self.course, results, self.results, weights, self.error)

    def lost(self, results: Results) -> tuple[Scores, Race] | None:
        """What is recorded of a model that is out, from the deciding items only; None if it is not.

        Scores are means over the items of each task that has any.
        """
        found = self.verdict(results)
        if not found.out:
            return None
        seen: dict[str, list[float]] = {}
        for task, item in self.course.order[: found.items]:
            seen.setdefault(task, []).append(results[task][item])
        tasks = tuple(_partial(t, seen[t.task]) for t in self.scores.tasks if t.task in seen)
        scores = Scores(evaluation_id=self.scores.evaluation_id, tasks=tasks)
        return scores, self._race(found)

    def _race(self, found: Verdict) -> Race:
        estimate = self.scores.aggregate + found.difference
        # Where the items seen hardly differ, their spread says little of the others; see Hanley &
        # Lippman-Hand 1983, *If nothing goes wrong, is everything all right?*, the rule of three.
        half = max(_Z95 * found.stderr, 100.0 * 3.0 / found.items)
        return Race(
            id=self.id,
            reference=self.reference,
            items=found.items,
            of=found.of,
            estimate=_share(estimate),
            stderr=found.stderr,
            low=_share(estimate - half),
            high=_share(estimate + half),
        )


def _share(points: float) -> float:
    return min(max(points, 0.0), 100.0)


def _partial(counted: TaskScore, values: list[float]) -> TaskScore:
    """A task's score on some of its items; which of them were solved is not told by position."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    changes: Mapping[str, object] = {
        "value": 100.0 * (math.fsum(values) / len(values)),
        "stderr": None if error is None else 100.0 * error,
        "samples": len(values),
        "solved": None,
    }
    return counted.model_copy(update=dict(changes))
