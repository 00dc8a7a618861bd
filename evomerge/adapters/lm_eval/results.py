"""From lm-eval's results to scores in points, sample logs and warnings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evomerge.adapters.lm_eval.json_values import plain
from evomerge.adapters.lm_eval.tasks import Entry, Suite
from evomerge.adapters.lm_eval.watch import Watch
from evomerge.domain.errors import CandidateError

_POINTS = 100.0


def task_score(entry: Entry, results: Mapping[str, Any]) -> dict[str, Any]:
    """One entry's score: the fields of `evomerge.domain.scores.TaskScore`, in points.

    Raises:
        CandidateError: the metric is missing, not finite, or no share between 0 and 1.
    """
    name, key = entry.config.name, entry.result_key
    metrics = results["results"][name]
    if key not in metrics:
        there = ", ".join(sorted(item for item in metrics if "," in item and "_stderr" not in item))
        raise CandidateError(f"task {name!r} gave no metric {key!r}; it gave {there}")
    value = float(metrics[key])
    if not 0.0 <= value <= 1.0:  # NaN compares false too
        raise CandidateError(f"{key!r} of task {name!r} is {value}, not a share between 0 and 1")
    metric, _, chosen = key.partition(",")
    error = metrics.get(f"{metric}_stderr,{chosen}")
    known = isinstance(error, int | float) and math.isfinite(float(error))
    counts = metrics.get("sample_count", {})
    return {
        "task": name,
        "metric": entry.config.metric,
        "value": value * _POINTS,
        "stderr": float(error) * _POINTS if known and error is not None else None,
        "samples": int(counts.get(key, metrics["sample_len"])),
        "weight": entry.config.weight,
    }


def write_samples(samples: Mapping[str, Iterable[Mapping[str, Any]]], into: Path) -> None:
    """Write `samples_<task>.jsonl`: a line per item and filter, by item, then as the task has it.

    Keys of a line: `doc_id` (position among the task's items), `filter`, `doc`, `arguments` (of
    each request), `responses` (of each request and repeat), `filtered` (what the metrics saw),
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


def warnings(suite: Suite, watch: Watch, window: int) -> list[str]:
    """What a reader of the scores should know, a sentence each."""
    said = [*suite.warnings]
    for name, task in suite.tasks.items():
        count = len(task.instances)
        if watch.too_long[name]:
            said.append(
                f"task {name!r}: {watch.too_long[name]} of {count} requests are longer than the "
                f"model's window of {window} tokens, so their beginning was cut off"
            )
        if watch.cut_off[name]:
            said.append(
                f"task {name!r}: {watch.cut_off[name]} of {count} answers reached the token limit"
            )
    return said
