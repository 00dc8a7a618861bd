"""The lm-eval worker, a child process that lives as long as the run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from evomerge.adapters.cached import CachedWorker
from evomerge.adapters.child import Child
from evomerge.adapters.lm_eval.basis import basis, basis_of_probe
from evomerge.ports import Worker
from evomerge.store.cache import Cache


def worker(
    backend: str,
    device: str,
    log: Path,
    cache: Cache | None = None,
    start: Callable[..., Worker] = Child,
    *,
    batch_invariant: bool = False,
) -> Worker:
    """The worker for `describe`, `probe`, `calibrate` and `score` on one device.

    Args:
        backend: lm-eval's.
        device: `cpu` or `cuda:<number>`, not part of the evaluation id; or several of the latter
            joined by `+`, for one vllm engine over all of them.
        log: file for the output of the child and its libraries.
        cache: cache of task descriptions; None to ask the child each time.
        start: makes the worker, with the arguments of `Child`.
        batch_invariant: make vllm's numbers independent of the other requests of a batch.
    """
    environment, own = _vllm(device, batch_invariant) if backend == "vllm" else ({}, device)
    child = start(
        "evomerge.adapters.lm_eval.child",
        {"describe", "probe", "calibrate", "score"},
        log,
        environment,
        name=f"scoring on {device}",
        device=own,
    )
    return (
        child
        if cache is None
        else CachedWorker(child, own, {"describe": basis, "probe": basis_of_probe}, cache)
    )


def _vllm(device: str, batch_invariant: bool) -> tuple[dict[str, str], str]:
    """The child's environment, in which only `device` is visible, and its name there."""
    environment = {
        # An engine in a process of its own hides errors ("see the trace above"), and takes requests
        # as they come, so that batches differ from run to run.
        "VLLM_ENABLE_V1_MULTIPROCESSING": os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
        **({"VLLM_BATCH_INVARIANT": "1"} if batch_invariant else {}),
    }
    numbers = [each.partition(":")[2] for each in device.split("+") if each.startswith("cuda:")]
    if not numbers or not all(number.isdigit() for number in numbers):
        return environment, device
    visible = [item for item in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if item]
    chosen = [visible[int(n)] if int(n) < len(visible) else n for n in numbers]
    return {**environment, "CUDA_VISIBLE_DEVICES": ",".join(chosen)}, "cuda:0"
