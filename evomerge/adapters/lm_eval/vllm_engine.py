"""vLLM as an engine whose weights can be swapped, below lm-eval's model class."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from evomerge.adapters.lm_eval.backends import Placement
from evomerge.adapters.lm_eval.leftovers import noting, own_folder
from evomerge.adapters.lm_eval.metrics import one_line
from evomerge.config import EvaluationConfig
from evomerge.config.evaluation import BATCH_INVARIANT
from evomerge.domain.errors import CandidateError

_WORKER = "evomerge.adapters.lm_eval.vllm_worker.WeightSwap"
_LONGEST = 512  # tokens of each text in a comparison of engines
_WRITTEN = 8  # tokens that the engines generate for it


def engine_arguments(config: EvaluationConfig, place: Placement) -> dict[str, Any]:
    """The arguments of lm-eval's model class for any model of the evaluation."""
    own = {name: each for name, each in config.model_args.items() if name != BATCH_INVARIANT}
    return {
        "dtype": config.dtype,
        "batch_size": config.batch_size,
        "max_length": config.max_length,
        "seed": config.seed,
        "trust_remote_code": place.trust_remote_code,
        "load_format": "auto" if place.allow_pickle else "safetensors",
        "worker_extension_cls": _WORKER,
        **own,
        **(
            {"gpu_memory_utilization": config.gpu_share(merges_on_gpu=True)}
            if place.merges_on_gpu
            else {}
        ),
    }


class VllmEngine:
    """Implements `kept_engine.Engine`; a process has at most one at a time."""

    def __init__(self, model: Path, arguments: Mapping[str, Any]) -> None:
        from lm_eval.models.vllm_causallms import VLLM

        try:
            with noting(_own_folder()):
                self._lm = VLLM(pretrained=str(model), **arguments)
        except BaseException:
            _release()
            raise

    @property
    def exact(self) -> bool:
        return "float32" in str(self._lm.model.llm_engine.model_config.dtype)

    def lent(self) -> Any:
        return _watched(copy.copy(self._lm))

    def swap(self, model: Path) -> None:
        try:
            self._lm.model.collective_rpc("swap_weights", args=(str(model),))
            # Entries computed with the previous weights must not be reused.
            emptied = self._lm.model.reset_prefix_cache()
        except Exception as error:  # engines can raise anything
            raise CandidateError(one_line(error)) from None
        if not emptied:
            raise CandidateError("the engine's cache could not be emptied")

    def answers(self, texts: Sequence[str]) -> list[float]:
        from vllm import SamplingParams, TokensPrompt

        longest = min(_LONGEST, self._lm.max_length - _WRITTEN)
        prompts = [
            TokensPrompt(prompt_token_ids=tokens[-longest:])
            for tokens in map(self._lm.tok_encode, texts)
            if tokens
        ]
        # Generated first: this reads a prefix cache that was not emptied, while scoring never does.
        writing = SamplingParams(temperature=0, max_tokens=_WRITTEN, logprobs=0)
        scoring = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
        written = self._lm.model.generate(prompts, writing, use_tqdm=False)
        scored = self._lm.model.generate(prompts, scoring, use_tqdm=False)
        tokens = [
            token
            for one, other in zip(written, scored, strict=True)
            for token in (*other.prompt_logprobs[1:], *one.outputs[0].logprobs[:1])
        ]
        return [float(each.logprob) for token in tokens for each in token.values()]

    def close(self) -> None:
        engine, self._lm.model = self._lm.model.llm_engine, None
        with suppress(Exception):  # shutting down a broken engine may fail
            engine.engine_core.shutdown()
        del engine
        _release()


_own_folder = cache(own_folder)
"""One folder for all engines of this process."""


def _release() -> None:
    """Free what an engine allocated in this process."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    gc.unfreeze()
    gc.collect()
    cleanup_dist_env_and_memory()


def _watched(lm: Any) -> Any:
    """Make `lm` raise on non-finite logits in generation: vLLM would take an arbitrary token."""
    ask = lm._model_generate  # noqa: SLF001, where lm-eval calls the engine

    def answer(requests: Any, generate: bool = False, sampling_params: Any = None) -> Any:
        for each in (sampling_params or ()) if generate else ():
            each.logprobs = 0  # of the generated token
        outputs = ask(requests, generate=generate, sampling_params=sampling_params)
        for output in outputs if generate else ():
            for token in output.outputs[0].logprobs or ():
                if any(math.isnan(one.logprob) for one in token.values()):
                    raise CandidateError("the model's logits are not finite")
        return outputs

    lm._model_generate = answer  # noqa: SLF001
    return lm
