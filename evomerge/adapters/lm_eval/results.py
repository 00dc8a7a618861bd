"""Converts lm-eval's results to scores in points, sample logs and warnings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evomerge.adapters.lm_eval.json_values import plain
from evomerge.adapters.lm_eval.suite import LoadedTask, Suite
from evomerge.adapters.lm_eval.watch import Watch
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError
from evomerge.domain.scores import EvaluationWarning, solved_items

_POINTS = 100.0


def task_scores(entry: LoadedTask, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All metrics in [0, 1] of one entry: fields of `TaskScore`, in points, weight 1.

    The metric that counts comes first.

    Raises:
        CandidateError: the metric that counts is missing, not finite, or not in [0, 1].
    """
    name, key = entry.config.name, entry.result_key
    metrics = results["results"][name]
    there = [item for item in metrics if "," in item and "_stderr," not in item]
    if key not in there:
        given = ", ".join(sorted(there))
        raise CandidateError(f"task {name!r} has no metric {key!r}; it has {given}")
    value = float(metrics[key])
    if not _is_share(value):
        raise CandidateError(f"{key!r} of task {name!r} is {value}, which is not in [0, 1]")
    others = sorted(item for item in there if item != key and _is_share(metrics[item]))
    rows = results["samples"].get(name, ())  # a group logs its member tasks only
    return [_task_score(name, item, metrics, rows) for item in (key, *others)]


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0.0 <= float(value) <= 1.0  # NaN compares false too


def _task_score(
    name: str, key: str, metrics: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    metric, _, chosen = key.partition(",")
    error = metrics.get(f"{metric}_stderr,{chosen}")
    known = isinstance(error, int | float) and math.isfinite(float(error))
    counts = metrics.get("sample_count", {})
    return {
        "task": name,
        "metric": metric,
        "filter": chosen,
        "value": float(metrics[key]) * _POINTS,
        "stderr": float(error) * _POINTS if known and error is not None else None,
        "samples": int(counts.get(key, metrics["sample_len"])),
        "weight": 1.0,
        "solved": _solved(metric, chosen, rows),
    }


def _solved(metric: str, chosen: str, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """See `TaskScore.solved`; in the order of the items."""
    own = sorted((row for row in rows if row["filter"] == chosen), key=lambda row: row["doc_id"])
    values = [row.get(metric) for row in own]
    right_or_wrong = bool(values) and all(value in (0, 1) for value in values)
    return solved_items([bool(value) for value in values]) if right_or_wrong else None


def write_samples(samples: Mapping[str, Iterable[Mapping[str, Any]]], into: Path) -> None:
    """Write `samples_<task>.jsonl`: a line per item and filter, sorted by item.

    Keys of a line: `doc_id` (index among the task's items), `filter`, `doc`, `arguments` (of
    each request), `responses` (of each request and repeat), `filtered` (input of the metrics),
    `target`, `metrics` {name: value for this item}.
    """
    for task, rows in samples.items():
        lines = [_line(row) for row in sorted(rows, key=lambda row: row["doc_id"])]
        name = task.replace("/", "_").replace("::", "__")
        (into / f"samples_{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def _line(row: Mapping[str, Any]) -> str:
    record = {
        "doc_id": row["doc_id"],
        "filter": row["filter"],
        "doc": row["doc"],
        "arguments": row["arguments"],
        "responses": row["resps"],
        "filtered": row["filtered_resps"],
        "target": row["target"],
        "metrics": {name: row[name] for name in row["metrics"]},
    }
    return json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n"


def write_backend(lm: Any, config: EvaluationConfig, into: Path) -> None:
    """Write `backend.json`: settings that the backend chose when it loaded the model.

    Keys: `backend`, `attention` (transformers' implementation; None if unknown), `dtype`,
    `batch_size`, `max_length` (tokens).
    """
    own = getattr(lm, "model", None)
    attention = getattr(getattr(own, "config", None), "_attn_implementation", None)
    found = {
        "backend": config.backend,
        "attention": attention,
        "dtype": str(getattr(own, "dtype", config.dtype)).removeprefix("torch."),
        "batch_size": config.batch_size,
        "max_length": int(getattr(lm, "max_length", 0)) or None,
    }
    (into / "backend.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def warnings(suite: Suite, watch: Watch, window: int) -> list[EvaluationWarning]:
    """Warnings about the scores of a model."""
    said = [*suite.warnings]
    for name, task in suite.tasks.items():
        total = len(task.instances)
        cut = f"requests are longer than the model's context window of {window} tokens"
        found = {
            "too_long": (watch.too_long[name], f"{cut}, so their beginning was truncated"),
            "cut_off": (watch.cut_off[name], "answers reached the token limit"),
        }
        said += [
            EvaluationWarning(kind=kind, task=name, count=count, total=total, trouble=trouble)
            for kind, (count, trouble) in found.items()
            if count
        ]
    return said
