"""lm-eval as a worker, in a child process that lives as long as the run."""

from __future__ import annotations

import os
from pathlib import Path

from evomerge.adapters.cached import CachedWorker
from evomerge.adapters.child import Child
from evomerge.adapters.lm_eval.basis import basis
from evomerge.ports import Worker
from evomerge.store.cache import Cache


def worker(
    backend: str,
    device: str,
    log: Path,
    cache: Cache | None = None,
    *,
    batch_invariant: bool = False,
) -> Worker:
    """Who does `describe` and `score` on one device.

    Args:
        backend: of lm-eval.
        device: `cpu` or `cuda:<number>`, no part of the evaluation id; or several of the latter
            with a `+` between them, for one vllm engine over all of them.
        log: file for what the child and its libraries print.
        cache: where descriptions of tasks are remembered; the child is asked each time if None.
        batch_invariant: vllm's numbers then do not depend on what is computed at the same time.
    """
    environment, own = _vllm(device, batch_invariant) if backend == "vllm" else ({}, device)
    child = Child(
        "evomerge.adapters.lm_eval.child",
        {"describe", "score"},
        log,
        environment,
        name=f"scoring on {device}",
        device=own,
    )
    return child if cache is None else CachedWorker(child, {"describe": basis}, cache)


def _vllm(device: str, batch_invariant: bool) -> tuple[dict[str, str], str]:
    """The child's environment and its name for `device`: vllm takes the first that it can see."""
    environment = {
        # In a process of its own an engine dies with "see the trace above", and takes requests as
        # they come, so that batches differ from run to run.
        "VLLM_ENABLE_V1_MULTIPROCESSING": os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
        **({"VLLM_BATCH_INVARIANT": "1"} if batch_invariant else {}),
    }
    numbers = [each.partition(":")[2] for each in device.split("+") if each.startswith("cuda:")]
    if not numbers or not all(number.isdigit() for number in numbers):
        return environment, device
    visible = [item for item in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if item]
    chosen = [visible[int(n)] if int(n) < len(visible) else n for n in numbers]
    return {**environment, "CUDA_VISIBLE_DEVICES": ",".join(chosen)}, "cuda:0"
