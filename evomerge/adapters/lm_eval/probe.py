"""How many of the longest requests of an evaluation a device scores at a time.

lm-eval's own `batch_size: auto` probes each model anew, with windows of the longest length that a
model has, and the batch size can change a score. Here it is chosen once for a run.
"""

from __future__ import annotations

import heapq
from typing import Any

import torch

from evomerge.adapters.lm_eval.suite import Suite
from evomerge.execution.resources import available_memory

LARGEST = 64
_CPU_SHARE = 0.25
_TOKENIZED = 8  # texts, the longest ones; one of them has the most tokens
_COPIES = 3  # logits, their log-softmax, and what it is computed from; float32


def batch_size(lm: Any, suite: Suite) -> int:
    """The largest power of two, up to 64, of which twice as many of the longest requests fit.

    Half stays free for caches of generated answers and fragmentation. On a CPU, where running out
    of memory ends the process, the size of the logits is estimated instead.

    Args:
        lm: lm-eval's model object of `hf`, with the largest model.
    """
    length, size = longest(lm, suite), 1
    while size < LARGEST and _fits(lm, 4 * size, length):
        size *= 2
    return size


def longest(lm: Any, suite: Suite) -> int:
    """Tokens of the longest request with its answer, at most the window of the model."""
    requests: list[tuple[str, int]] = [("", 0)]
    for name, task in suite.tasks.items():
        suite.requests[name](
            samples=suite.samples.get(name),
            system_instruction=suite.config.system_instruction,
        )
        requests += [_text_and_answer(lm, request) for request in task.instances]
    longest_texts = heapq.nlargest(_TOKENIZED, requests, key=lambda each: len(each[0]) + each[1])
    tokens = max(len(lm.tok_encode(text)) + answer for text, answer in longest_texts)
    return min(tokens + 1, int(lm.max_length))


def _text_and_answer(lm: Any, request: Any) -> tuple[str, int]:
    """The text of a request, and the tokens that may be generated for it."""
    text = "".join(part for part in request.args if isinstance(part, str))
    if request.request_type != "generate_until":
        return text, 0
    return text, int(request.args[1].get("max_gen_toks", lm.max_gen_toks))


def _fits(lm: Any, size: int, length: int) -> bool:
    rows = int(lm.model.get_input_embeddings().weight.shape[0])
    if lm.device.type == "cpu":
        return size * length * rows * 4 * _COPIES < _CPU_SHARE * available_memory()
    tokens = torch.ones((size, length), dtype=torch.long, device=lm.device)
    try:
        with torch.no_grad():
            torch.nn.functional.log_softmax(lm.model(tokens).logits, dim=-1, dtype=torch.float32)
    except torch.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return True
