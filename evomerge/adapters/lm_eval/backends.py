"""Loads one model for scoring, and frees it: `hf` (transformers) and other model types.

`vllm_engine` has the engine of `vllm`, which outlives its models.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from evomerge.adapters.lm_eval import model_types
from evomerge.adapters.lm_eval.form import Form
from evomerge.config import EvaluationConfig
from evomerge.domain.errors import CandidateError
from evomerge.domain.identity import canonical_json

_SET_BY_EVOMERGE = {  # besides what the config itself refuses
    "max_batch_size": "evaluation.batch_size",
    "seed": "evaluation.seed",
    "use_safetensors": "merge.options.allow_pickle",
}
_SEVERAL_ENGINES = ("data_parallel_size", "data_parallel_backend")


def backend_problems(config: EvaluationConfig, device: str) -> list[str]:
    """What stands against scoring with this backend on this device, a line each."""
    problems = [
        f"evaluation.model_args.{name}: this is set by {owner}"
        for name, owner in _SET_BY_EVOMERGE.items()
        if name in config.model_args
    ]
    if config.backend == "vllm" and find_spec("vllm") is None:
        problems.append("evaluation.backend: vllm is not installed: pip install 'evomerge[vllm]'")
    if config.backend == "vllm":
        problems += [
            f"evaluation.model_args.{name}: list devices in execution.devices, each has an engine"
            for name in _SEVERAL_ENGINES
            if name in config.model_args
        ]
    if config.backend not in model_types.OWN:
        problems += model_types.problems(config)
    return problems + _device_problems(device)


def _device_problems(device: str) -> list[str]:
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        return [f"execution.devices: {device!r} is no device: {' '.join(str(error).split())}"]
    if wanted.type != "cuda":
        return []
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (wanted.index or 0) < count:
        return []
    return [f"execution.devices: there is no {device}; {count} CUDA devices are usable here"]


@dataclass(frozen=True)
class Placement:
    """Where and with how much trust models are run.

    Attributes:
        trust_remote_code: run Python code from model folders.
        allow_pickle: load weights that are not safetensors; pickled weights are code.
        merges_on_gpu: merges may use the same card at the same time.
    """

    device: str
    trust_remote_code: bool = False
    allow_pickle: bool = False
    merges_on_gpu: bool = False


@contextmanager
def loaded_model(config: EvaluationConfig, model: Path, place: Placement) -> Iterator[Any]:
    """lm-eval's model object of the weights in folder `model`, which it loses afterwards."""
    build = _hf if config.backend == "hf" else model_types.build
    lm = build(config, model, place)
    try:
        yield lm
    finally:
        # Even where something still refers to `lm`, as a traceback does.
        if hasattr(lm, "_model"):
            lm._model = None  # noqa: SLF001, `model` is a property of it


def free_memory() -> None:
    """Give back what dropped models took."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _hf(config: EvaluationConfig, model: Path, place: Placement) -> Any:
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(
        pretrained=str(model),
        device=place.device,
        dtype=config.dtype,
        batch_size=config.batch_size,
        max_length=config.max_length,
        trust_remote_code=place.trust_remote_code,
        use_safetensors=None if place.allow_pickle else True,  # None: what the folder holds
        **config.model_args,
    )
    # Asked for several times a request, and worked out anew each time: a tenth of a small model's.
    lm._max_length = lm.max_length  # noqa: SLF001, what its own argument sets
    return lm


def refuse_non_finite(model: torch.nn.Module) -> None:
    """For weights that were loaded from other files than safetensors, which `read_form` reads.

    Raises:
        CandidateError: a weight is not finite.
    """
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise CandidateError(f"weight {name} holds numbers that are not finite")


class ExpectedNames:
    """The tensors that transformers wants for a config; asked once for each config.

    Neither transformers nor vLLM refuse a model that lacks some: they go on with what is in memory.
    """

    def __init__(self) -> None:
        self._known: dict[str, frozenset[str]] = {}

    def missing(self, model: Path, form: Form, place: Placement) -> list[str]:
        """What the weight files in `model` lack, sorted; nothing where that cannot be told.

        It cannot where a model's code has other names for its tensors than its files.
        """
        key = canonical_json(form.config)
        if key not in self._known:
            self._known[key] = frozenset(_names(model, place))
        wanted = self._known[key]
        return sorted(wanted - form.tensors.keys()) if form.tensors.keys() <= wanted else []


def _names(model: Path, place: Placement) -> set[str]:
    from transformers import AutoConfig, AutoModelForCausalLM

    trusted = place.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=trusted)
        with torch.device("meta"):
            built = AutoModelForCausalLM.from_config(config, trust_remote_code=trusted)
    except Exception:  # whoever loads it says what is wrong
        return set()
    spare = [*(getattr(built, "_keys_to_ignore_on_load_missing", None) or ())]
    # a tied tensor is the other's, by whichever name that is stored
    return {
        name
        for name in built.state_dict()
        if name not in (built.all_tied_weights_keys or {})
        and not any(re.search(pattern, name) for pattern in spare)
    }
