"""lm-eval as a worker, in a child process that lives as long as the run."""

from __future__ import annotations

import os
from pathlib import Path

from evomerge.adapters.cached import CachedWorker
from evomerge.adapters.child import Child
from evomerge.adapters.lm_eval.basis import basis
from evomerge.ports import Worker
from evomerge.store.cache import Cache


def worker(backend: str, device: str, log: Path, cache: Cache | None = None) -> Worker:
    """Who does `describe` and `score` on one device.

    Args:
        backend: of lm-eval; vllm takes no device but the first that it can see.
        device: `cpu` or `cuda:<number>`; no part of the evaluation id.
        log: file for what the child and its libraries print.
        cache: where descriptions of tasks are remembered; the child is asked each time if None.
    """
    environment, own = _placed(backend, device)
    child = Child(
        "evomerge.adapters.lm_eval.child",
        {"describe", "score"},
        log,
        environment,
        name=f"scoring on {device}",
        device=own,
    )
    return child if cache is None else CachedWorker(child, {"describe": basis}, cache)


def _placed(backend: str, device: str) -> tuple[dict[str, str], str]:
    """The child's environment and its name for `device`."""
    kind, _, number = device.partition(":")
    if backend != "vllm" or kind != "cuda" or not number.isdigit():
        return {}, device
    visible = [item for item in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if item]
    chosen = visible[int(number)] if int(number) < len(visible) else number
    return {"CUDA_VISIBLE_DEVICES": chosen}, "cuda:0"
