"""The choice of a task's metric, checked by name before anything is scored."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from evomerge.config import TaskConfig

_NOT_A_SHARE = {"bleu", "chrf", "chrfpp", "ter", "bypass_agg"}
_MOST_SHOWN = 20


def check_metric(key: str, task: TaskConfig, loaded: Mapping[str, Any]) -> tuple[str, list[str]]:
    """lm-eval's result key `<metric>,<filter>` for a loaded task or group, and faults.

    Filters extract answers from responses; a task without filters has the one named `none`.
    """
    group = loaded["groups"].get(task.name)
    leaves = list(loaded["tasks"].values())
    if group is not None:
        if not group.has_aggregation:
            names = ", ".join(group.child_names[:8])
            return "", [
                f"{key}.name: group {task.name!r} has no score of its own; list its tasks: {names}"
            ]
        metrics = [aggregate.metric for aggregate in group.aggregate_metric_list]
        open_ended = False
    else:
        metrics = list(leaves[0].aggregation())
        open_ended = any(_names_its_own_metrics(leaf) for leaf in leaves)
    if task.metric not in metrics and not open_ended:
        fault = no_such("metric", task.metric, metrics)
        return "", [f"{key}.metric: task {task.name!r}: {fault}"]
    problems = [
        f"{key}.metric: {fault}" for fault in dict.fromkeys(_unusable(task, leaves)) if fault
    ]
    chosen, wrong = _filter(key, task, _filters(task, group, leaves))
    return f"{task.metric},{chosen}", problems + wrong


def no_such(kind: str, name: str, names: Iterable[str], shown: int = _MOST_SHOWN) -> str:
    """`there is no <kind> <name>`, with the closest of `names` and the first few of them."""
    options = sorted(set(names))
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    text = f"there is no {kind} {name!r}"
    text += f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    if shown:
        text += f" ({kind}s: {', '.join(options[:shown])}{', …' if len(options) > shown else ''})"
    return text


def one_line(error: BaseException) -> str:
    """An error of foreign code as one line of at most 500 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def _names_its_own_metrics(leaf: Any) -> bool:
    """Whether a metric is a function, whose results may have other names (`pass@1`)."""
    config = leaf.config
    if callable(getattr(config, "process_results", None)):
        return False  # these must list the names of their results
    return any(callable(item.get("metric")) for item in config.metric_list or [])


def _unusable(task: TaskConfig, leaves: Iterable[Any]) -> Iterable[str]:
    for leaf in leaves:
        if leaf.higher_is_better().get(task.metric) is False:
            yield f"lower is better for {task.metric!r} of task {task.name!r}; scores are maximised"
        aggregation = leaf.aggregation().get(task.metric)
        if getattr(aggregation, "__name__", "") in _NOT_A_SHARE:
            yield (
                f"{task.metric!r} of task {task.name!r} is not in [0, 1], so it cannot be "
                "converted to points from 0 to 100"
            )


def _filters(task: TaskConfig, group: Any, leaves: Iterable[Any]) -> list[str]:
    given: list[str] = []
    if group is not None:
        for aggregate in group.aggregate_metric_list:
            if aggregate.metric == task.metric and aggregate.filter_list is not None:
                given += aggregate.filter_list
    if not given:
        for leaf in leaves:
            given += [item["name"] for item in leaf.config.filter_list or [{"name": "none"}]]
    return list(dict.fromkeys(given))


def _filter(key: str, task: TaskConfig, names: list[str]) -> tuple[str, list[str]]:
    if task.filter is None and len(names) == 1:
        return names[0], []
    if task.filter is None:
        choices = ", ".join(names)
        return "", [f"{key}.filter: task {task.name!r} has several; choose one of {choices}"]
    if task.filter not in names:
        fault = no_such("filter", task.filter, names)
        return "", [f"{key}.filter: task {task.name!r}: {fault}"]
    return task.filter, []
