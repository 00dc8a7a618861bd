"""What surrounds a vllm engine: its process's environment, its place in the id, its last words."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evomerge.adapters.lm_eval.backends import Placement, backend_problems
from evomerge.adapters.lm_eval.data import _engine_settings
from evomerge.adapters.lm_eval.vllm_engine import _watched, engine_arguments
from evomerge.adapters.lm_eval.watch import Watch
from evomerge.adapters.lm_eval.worker import _vllm, worker
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError

WORKER = "(Worker_TP1 pid=7) ERROR 11-28 14:39:08 [multiproc_executor.py:953] "
CORE = "(EngineCore pid=6) ERROR 11-28 14:39:09 [core.py:1510] "
TRACE = f"""\
loading
{WORKER}WorkerProc failed to start.
{WORKER}Traceback (most recent call last):
{WORKER}    raise ValueError("no")
{WORKER}torch.OutOfMemoryError: CUDA out of memory
{CORE}Exception: WorkerProc initialization failed. See stack trace for root cause.
ValueError: printed by nobody
"""
ASKS = """
import sys
from evomerge.adapters.lm_eval.engine_log import log_end, real_reason
print("EngineCore pid=1) ERROR [x] ValueError: of an earlier engine", file=sys.stderr)
since = log_end()
sys.stderr.write(sys.argv[2])
sys.stderr.flush()
print(real_reason(sys.argv[1], since))
"""
POINTS = (
    "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause."
)


def evaluation(**settings: Any) -> EvaluationConfig:
    asked = {"tasks": [{"name": "t"}], "backend": "vllm", **settings}
    return EvaluationConfig.model_validate(asked)


def reason(message: str, trace: str, stderr: Any) -> str:
    words = [sys.executable, "-c", ASKS, message, trace]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True)
    return done.stdout.strip()


def test_the_reason_that_another_process_printed(tmp_path: Path) -> None:
    with (tmp_path / "log").open("ab") as log:
        assert reason(POINTS, TRACE, log) == "torch.OutOfMemoryError: CUDA out of memory"
        assert reason(POINTS, "nothing\n", log) == POINTS
        assert reason("ValueError: clear", TRACE, log) == "ValueError: clear"
    assert reason(POINTS, TRACE, subprocess.PIPE) == POINTS


def test_the_environment_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING", raising=False)
    alone = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    assert _vllm("cpu", False) == (alone, "cpu")
    assert _vllm("cuda:1", False) == (alone | {"CUDA_VISIBLE_DEVICES": "1"}, "cuda:0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    both, device = _vllm("cuda:2+cuda:3", True)
    assert (both["CUDA_VISIBLE_DEVICES"], both["VLLM_BATCH_INVARIANT"]) == ("6,7", "1")
    assert device == "cuda:0"
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    assert _vllm("cpu", False)[0] == {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}


def test_a_worker_is_named_after_its_devices(tmp_path: Path) -> None:
    assert worker("vllm", "cuda:0+cuda:1", tmp_path / "log").name == "scoring on cuda:0+cuda:1"


def test_what_changes_numbers_is_in_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = types.ModuleType("envs")
    envs.compile_factors = lambda: {  # type: ignore[attr-defined]
        "VLLM_BATCH_INVARIANT": True, "VLLM_USE_V2_MODEL_RUNNER": None, "HOME": "/x",
    }  # fmt: skip
    fake = types.ModuleType("vllm")
    fake.envs = envs  # type: ignore[attr-defined]
    triton = types.ModuleType("vllm.triton_utils")
    triton.HAS_TRITON = True  # type: ignore[attr-defined]
    for name, module in (("vllm", fake), ("vllm.envs", envs), ("vllm.triton_utils", triton)):
        monkeypatch.setitem(sys.modules, name, module)
    for name in [each for each in os.environ if each.startswith("VLLM_")]:
        monkeypatch.delenv(name)
    assert _engine_settings() == {"triton": True, "variables": {}}
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    assert _engine_settings()["variables"] == {"VLLM_BATCH_INVARIANT": "1"}


def test_the_arguments_of_an_engine() -> None:
    arguments = {"enforce_eager": True, "batch_invariant": True}
    config = evaluation(model_args=arguments, max_length=64)
    found = engine_arguments(config, Placement("cuda:0"))
    assert (found["enforce_eager"], found["max_length"]) == (True, 64)
    assert config.batch_invariant
    assert not {"batch_invariant", "gpu_memory_utilization"} & found.keys()
    beside = Placement("cuda:0", merges_on_gpu=True)
    assert engine_arguments(config, beside)["gpu_memory_utilization"] == 0.75
    stated = evaluation(model_args={"gpu_memory_utilization": 0.4})
    assert engine_arguments(stated, beside)["gpu_memory_utilization"] == 0.4
    assert not evaluation(backend="hf", model_args=arguments).batch_invariant


def test_replicas_are_devices() -> None:
    (problem, *_) = [
        each
        for each in backend_problems(evaluation(model_args={"data_parallel_size": 2}), "cpu")
        if "data_parallel_size" in each
    ]
    assert "execution.devices" in problem


@pytest.mark.parametrize(("value", "refused"), [(-1.5, False), (float("nan"), True)])
def test_a_text_written_by_logits_that_are_not_finite_is_refused(
    value: float, refused: bool
) -> None:
    token = {5: SimpleNamespace(logprob=value)}
    outputs = [SimpleNamespace(outputs=[SimpleNamespace(logprobs=[token])])]
    lm = SimpleNamespace(_model_generate=lambda *_, **__: outputs)
    sampling = [SimpleNamespace(logprobs=None)]
    ask = _watched(lm)._model_generate
    if refused:
        with pytest.raises(CandidateError, match="logits are not finite"):
            ask([[1]], generate=True, sampling_params=sampling)
    else:
        assert ask([[1]], generate=True, sampling_params=sampling) == outputs
    assert sampling[0].logprobs == 0


class VLLM:
    """Of lm-eval: cuts one token more than `HFLM`, which needs no room for the last one."""

    max_length, max_gen_toks = 4, 2

    def tok_encode(self, text: str, **_: Any) -> list[int]:
        return [0] * len(text)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[Any]:
        return [(-1.0, True) for _ in requests]

    loglikelihood_rolling = generate_until = loglikelihood

    def set_cache_hook(self, hook: Any) -> None: ...


class HFLM(VLLM):
    pass


def test_what_is_cut_off_is_counted_as_each_backend_cuts_it() -> None:
    for kind, cut in ((VLLM, 2), (HFLM, 0)):
        requests = [
            SimpleNamespace(args=("a" * length, "b"), task_name="t") for length in (2, 3, 4)
        ]
        lm = kind()
        watch = Watch(lm, {"t": SimpleNamespace(instances=requests)}, 0, lambda *_: None)
        lm.loglikelihood(requests)
        assert watch.too_long == Counter({"t": cut})
