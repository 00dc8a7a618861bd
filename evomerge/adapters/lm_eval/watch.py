"""Instruments a model: progress, non-finite numbers, texts too long for the context window."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lm_eval.models.utils import normalize_gen_kwargs

from evomerge.adapters.lm_eval.data import seed_everything
from evomerge.domain.errors import CandidateError
from evomerge.ports import Progress

_REQUEST_KINDS = ("loglikelihood", "loglikelihood_rolling", "generate_until")
_REMEMBERED_TOKENS = 4_000_000


class TokenMemory:
    """Caches tokenized texts for the next model with the same tokenizer.

    Bounded: beyond some millions of tokens (about 40 MB) nothing more is cached.
    """

    def __init__(self) -> None:
        self._fingerprint: str | None = None
        self._tokens: dict[tuple[Any, ...], array[int]] = {}
        self._count = 0

    def around(self, encode: Callable[..., list[int]], fingerprint: str) -> Callable[..., Any]:
        """`encode` with the cache; `fingerprint` identifies the tokenizer."""
        if fingerprint != self._fingerprint:
            self._fingerprint, self._tokens, self._count = fingerprint, {}, 0

        def remembered(string: Any, *positional: Any, **named: Any) -> list[int]:
            if not isinstance(string, str):
                return encode(string, *positional, **named)
            key = (string, positional, tuple(sorted(named.items())))
            known = self._tokens.get(key)
            if known is not None:
                return known.tolist()
            tokens = encode(string, *positional, **named)
            if self._count < _REMEMBERED_TOKENS:
                self._count += len(tokens)
                self._tokens[key] = array("q", tokens)
            return tokens

        return remembered


class Watch:
    """Wraps the methods of a model object that answer lm-eval's requests.

    Attributes:
        too_long: per task, the number of prompts whose beginning was truncated.
        cut_off: per task, the number of answers that reached the token limit.
    """

    def __init__(self, lm: Any, tasks: Mapping[str, Any], seed: int, progress: Progress) -> None:
        self.too_long: Counter[str] = Counter()
        self.cut_off: Counter[str] = Counter()
        self._lm = lm
        self._tasks = tasks
        self._total = 0
        self._seed = seed
        self._progress = progress
        self._done = 0
        self._not_finite = 0
        needed = ("tok_encode", "max_length", "max_gen_toks")  # not every model type has them
        # The last token is only predicted and needs no space in the window; vllm writes one more.
        self._spare = -1 if type(lm).__name__ == "VLLM" else 1
        self._counts_tokens = all(hasattr(lm, name) for name in needed)
        self._bad_logits: torch.Tensor | None = None
        for kind in _REQUEST_KINDS:
            setattr(lm, kind, self._around(kind, getattr(lm, kind)))
        lm.set_cache_hook(self)  # called for each response; nothing is cached
        if isinstance(getattr(lm, "model", None), torch.nn.Module):
            lm.model.register_forward_hook(self._look_at_logits)

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        """lm-eval's cache hook, called for every finished request."""
        if kind != "generate_until":
            value = answer[0] if isinstance(answer, tuple) else answer
            self._not_finite += not math.isfinite(value)
        self._done += 1
        self._progress(min(self._done, self._total), self._total)

    def _around(self, kind: str, method: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        """Wrap `method`: seeds before and after it, counts requests, checks for NaN."""

        def answer(requests: Sequence[Any], disable_tqdm: bool = True) -> list[Any]:
            self._total = sum(len(task.instances) for task in self._tasks.values())
            if self._counts_tokens:
                self._count_too_long(kind, requests)
            seed_everything(self._seed)
            answers = method(requests, disable_tqdm=disable_tqdm)
            seed_everything(self._seed)
            self._refuse_non_finite()
            if kind == "generate_until" and self._counts_tokens:
                self._count_cut_off(requests, answers)
            return answers

        return answer

    def _look_at_logits(self, module: Any, inputs: Any, output: Any) -> None:
        """Note, without synchronising the device, whether the last position's logits overflowed.

        Generation would continue with an arbitrary token. -inf is allowed: it masks tokens.
        """
        logits = getattr(output, "logits", None)
        if logits is not None:
            last = logits[:, -1]
            bad = (torch.isnan(last) | torch.isposinf(last)).any()
            self._bad_logits = bad if self._bad_logits is None else self._bad_logits | bad

    def _refuse_non_finite(self) -> None:
        if self._not_finite:
            raise CandidateError(f"{self._not_finite} log-likelihoods are not finite")
        if self._bad_logits is not None and bool(self._bad_logits):
            raise CandidateError("the model's logits are not finite")

    def _count_too_long(self, kind: str, requests: Sequence[Any]) -> None:
        if kind == "loglikelihood_rolling":
            return  # scored window by window, so nothing is truncated
        for request in requests:
            text, rest = request.args[0], request.args[1]
            if kind == "loglikelihood":
                tokens, room = self._lm.tok_encode(text + rest), self._lm.max_length + self._spare
            else:
                tokens = self._lm.tok_encode(text)
                room = self._lm.max_length - self._generated(rest)
            self.too_long[request.task_name] += len(tokens) > room

    def _count_cut_off(self, requests: Sequence[Any], answers: Sequence[str]) -> None:
        for request, answer in zip(requests, answers, strict=True):
            tokens = self._lm.tok_encode(answer, add_special_tokens=False)
            self.cut_off[request.task_name] += len(tokens) >= self._generated(request.args[1])

    def _generated(self, arguments: dict[str, Any]) -> int:
        """The token limit of an answer."""
        return int(normalize_gen_kwargs(arguments, self._lm.max_gen_toks)["max_gen_toks"])
