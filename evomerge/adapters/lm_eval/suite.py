"""The loaded tasks of an evaluation, and the items that each split scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evomerge.adapters.lm_eval.data import memoized_documents
from evomerge.adapters.lm_eval.json_values import plain
from evomerge.adapters.lm_eval.metrics import one_line
from evomerge.adapters.lm_eval.perplexity import GuardText
from evomerge.adapters.lm_eval.requests import RequestsOnce
from evomerge.adapters.lm_eval.split import (
    FEWEST_ITEMS,
    calibration_items,
    held_out_items,
)
from evomerge.config import EvaluationConfig, TaskConfig
from evomerge.domain.errors import PreflightError
from evomerge.domain.identity import canonical_json
from evomerge.domain.scores import EvaluationWarning, Split

Part = Split | Literal["calibration"]
"""A split, or the items that merge rules see (`evaluation.split.calibration`)."""


@dataclass(frozen=True)
class LoadedTask:
    """One item of `evaluation.tasks` or `evaluation.final_tasks`, loaded.

    Attributes:
        key: its key in the config, such as `evaluation.tasks.1`.
        loaded: lm-eval's `tasks`, `groups` and `group_map` of this name.
        result_key: lm-eval's key of the metric that counts, such as `exact_match,strict-match`.
    """

    key: str
    config: TaskConfig
    loaded: Mapping[str, Any]
    result_key: str

    @property
    def leaves(self) -> dict[str, Any]:
        """The tasks with items: itself, or the members of the group."""
        return dict(self.loaded["tasks"])

    @property
    def final(self) -> bool:
        """Whether it is one of `final_tasks`."""
        return self.key.startswith("evaluation.final_tasks")


class Items(tuple[int, ...]):
    """Ascending indices of items, with a fast `in`, which lm-eval evaluates for every item."""

    def __contains__(self, item: object) -> bool:
        if not hasattr(self, "_known"):
            self._known = frozenset(self)
        return item in self._known


class Suite:
    """The tasks of one part of an evaluation, reused for every model.

    Attributes:
        samples: the scored items of each task; a missing task is scored on all items.
        requests: the cached requests of each task, shared by the splits.
        warnings: about items that no response can get right, and a guard's text that is cut.
        guard: the text on which perplexity is measured with this split; None for none.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        entries: Iterable[LoadedTask],
        samples: Mapping[str, Items],
        requests: Mapping[str, RequestsOnce],
        guard: GuardText | None = None,
    ) -> None:
        self.config = config
        self.guard = guard
        self.entries = tuple(entries)
        self.samples = dict(samples)
        self.requests = {name: requests[name] for name in self.tasks}
        self.warnings: list[EvaluationWarning] = [] if guard is None else [*guard.warnings]

    @property
    def tasks(self) -> dict[str, Any]:
        """All tasks with items, by name, in the order of the config."""
        return {name: task for entry in self.entries for name, task in entry.leaves.items()}

    @property
    def task_dict(self) -> dict[str, Any]:
        """lm-eval's `TaskDict` of all entries."""
        groups: dict[str, Any] = {}
        for entry in self.entries:
            groups |= entry.loaded["groups"]
        members = {name: group.child_names for name, group in groups.items()}
        return {"tasks": self.tasks, "groups": groups, "group_map": members}

    def documents(self, name: str) -> list[Any]:
        """The scored items of task `name`, in order."""
        docs = self.tasks[name].eval_docs
        return [docs[index] for index in self.samples.get(name, range(len(docs)))]


def suites(
    config: EvaluationConfig, entries: Sequence[LoadedTask], guard: GuardText | None = None
) -> dict[Part, Suite]:
    """The suite of every part of the config; `selection` is last, so that its requests stay built.

    Perplexity on the text of `guard` is measured with the selection split.

    Raises:
        PreflightError: a task has too few items to be split.
    """
    requests: dict[str, RequestsOnce] = {}
    problems: list[str] = []
    items: dict[Part, dict[str, Items]] = {
        part: {} for part in ("calibration", "held_out", "final", "selection")
    }
    for entry in entries:
        for name, task in entry.leaves.items():
            memoized_documents(task, config.seed)
            requests[name] = RequestsOnce(task, config.seed)
            problems += _choose_items(config, entry, name, items)
    if problems:
        raise PreflightError("\n".join(problems))
    wanted: set[Part] = {"selection", *config.held_out_splits}
    wanted |= {"calibration"} if config.split.calibration else set()
    return {
        split: Suite(
            config,
            (entry for entry in entries if entry.final == (split == "final")),
            chosen,
            requests,
            guard if split == "selection" else None,
        )
        for split, chosen in items.items()
        if split in wanted
    }


def _choose_items(
    config: EvaluationConfig, entry: LoadedTask, name: str, items: dict[Part, dict[str, Items]]
) -> list[str]:
    """Add the items of task `name` that each part has to `items`; returns faults."""
    docs = entry.leaves[name].eval_docs
    limit = entry.config.limit
    count = len(docs) if limit is None else min(limit, len(docs))
    share, seen = config.split.held_out, config.split.calibration
    if entry.final or not (share or seen):
        if count < len(docs):
            items["final" if entry.final else "selection"][name] = Items(range(count))
        return []
    if count < FEWEST_ITEMS:
        fault = f"task {name!r} has {count} items, too few to hold some out ({FEWEST_ITEMS})"
        return [f"{entry.key}: {fault}; raise its limit, or set evaluation.split to none"]
    try:
        labels = [_label(entry.leaves[name], docs[item]) for item in range(count)]
    except Exception as error:  # templates and task code can raise anything
        return [f"{entry.key}: the answers of task {name!r} cannot be read: {one_line(error)}"]
    held_out = Items(held_out_items(labels, share, config.split.seed, name) if share else ())
    left = [item for item in range(count) if item not in held_out]
    members = len(entry.leaves)
    wanted = -(-seen // members)
    if 2 * wanted > len(left):
        most = len(left) // 2 * members
        fault = f"task {name!r} has {len(left)} items that are not held out"
        return [f"{entry.key}: {fault}; evaluation.split.calibration may be up to {most} with it"]
    places = calibration_items([labels[i] for i in left], wanted, config.split.seed, name)
    calibration = Items(left[place] for place in places)
    items["held_out"][name], items["calibration"][name] = held_out, calibration
    items["selection"][name] = Items(item for item in left if item not in calibration)
    return []


def _label(task: Any, document: Any) -> str:
    return canonical_json(plain(task.doc_to_target(document)))
