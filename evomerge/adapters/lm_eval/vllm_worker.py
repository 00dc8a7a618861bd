"""Code that runs in vLLM's workers; the only module here that depends on an engine's internals."""

from __future__ import annotations

from typing import Any


class WeightSwap:
    """Methods added to vLLM's worker class (its option `worker_extension_cls`)."""

    model_runner: Any
    reload_weights: Any

    def swap_weights(self, folder: str) -> None:
        """Load the weights of `folder`, which has an equal form, into the running model.

        vLLM's own `reload_weights` processes each layer whose weights it loads. An output
        embedding that is tied to the input has none of its own, and on a CPU kept computing with a
        packed copy of the previous one: scores up to 19 nats a token off, without an error.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import (
            UnquantizedEmbeddingMethod,
            VocabParallelEmbedding,
        )

        self.reload_weights(weights_path=folder)
        for layer in self.model_runner.get_model().modules():
            method = getattr(layer, "quant_method", None)
            if isinstance(layer, VocabParallelEmbedding) and isinstance(
                method, UnquantizedEmbeddingMethod
            ):
                method.process_weights_after_loading(layer)
