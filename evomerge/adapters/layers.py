"""A causal language model, one decoder layer at a time, with weights that are passed in.

The modules are transformers' own, without weights. So a layer of one model fits in memory beside
that of another, and a layer can be called with any mixture of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch.func import functional_call
from transformers import AutoConfig, AutoModelForCausalLM

from evomerge.domain.errors import CandidateError

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Texts:
    """Some texts of equal length on their way through a model.

    Attributes:
        tokens: [texts, tokens].
        calls: for each layer, what the model calls it with besides the hidden states.
        hidden: the input of the next layer, [texts, tokens, width].
    """

    tokens: torch.Tensor
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    hidden: torch.Tensor


class _ReachedError(Exception):
    """The inputs that were asked for are computed; the rest of the layer is not needed."""

    def __init__(self, inputs: torch.Tensor) -> None:
        super().__init__()
        self.inputs = inputs


class Layers:
    """The decoder layers of an architecture, and what is before and after them.

    Attributes:
        outer: names, as in the weight files, of the tensors before and after the layers that the
            hidden states pass: embeddings and norms, by their names in the model.
        of_layer: for each layer, the names of its tensors in the files by those in the layer.
        embedding: the name of the input embedding in the files.
        head: the name of the output matrix in the files; None if it is the embedding's.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], *, trust: bool, device: torch.device
    ) -> None:
        """Build the modules.

        Args:
            folder: with the configuration of the model.
            names: of all tensors in its weight files.

        Raises:
            CandidateError: the architecture cannot be run layer by layer.
        """
        self.device = device
        model = _empty_model(folder, trust, device)
        self._backbone = model.base_model
        self._layers, place = _decoder_layers(model, self._backbone)
        known, prefix = set(names), f"{model.base_model_prefix}."
        files = {
            name: found
            for name in model.state_dict()
            for found in [_in_files(name, prefix, known)]
            if found is not None
        }
        inside, within = f"{prefix}{place}.", f"{prefix}{place}".count(".") + 1
        self.outer: dict[str, str] = {}
        self.of_layer: list[dict[str, str]] = [{} for _ in self._layers]
        for name, found in files.items():
            if name.startswith(inside):
                number, rest = name.split(".", within)[-1].split(".", 1)
                self.of_layer[int(number)][rest] = found
            elif name.startswith(prefix):
                self.outer[name.removeprefix(prefix)] = found
        for layer, tensors in zip(self._layers, self.of_layer, strict=True):
            if lacking := sorted(set(layer.state_dict()) - set(tensors)):
                raise _not_layered(model, f"its weight files have no {place}.….{lacking[0]}")
        embedding = _name_of(self._backbone, self._backbone.get_input_embeddings())
        self.embedding = self.outer[embedding]
        output = model.get_output_embeddings()
        self.head = files.get(_name_of(model, output) if output is not None else "")

    def __len__(self) -> int:
        return len(self._layers)

    def started(self, weights: Tensors, tokens: torch.Tensor) -> Texts:
        """The texts before the first layer.

        Args:
            weights: tensors by the keys of `outer`.
            tokens: [texts, tokens].
        """
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        first: list[torch.Tensor] = []

        def record(hidden: torch.Tensor, *args: Any, **further: Any) -> torch.Tensor:
            first.append(hidden)
            calls.append((args, further))
            return hidden

        self._through(weights, tokens, record)
        return Texts(tokens, calls, first[0])

    def finished(self, weights: Tensors, texts: Texts) -> torch.Tensor:
        """The input of the output matrix, [tokens, width], from the last layer's output."""
        hidden = self._through(weights, texts.tokens, lambda *_, **__: texts.hidden)
        return hidden.flatten(0, -2)

    def _through(self, weights: Tensors, tokens: torch.Tensor, layer: Any) -> torch.Tensor:
        """The backbone's output with all layers replaced by the function `layer`."""
        with _replaced(self._layers, layer):
            arguments = {"input_ids": tokens, "use_cache": False}
            found = functional_call(self._backbone, dict(weights), (), arguments)
        hidden: torch.Tensor = found[0]
        return hidden

    def run(self, number: int, weights: Tensors, texts: Texts) -> torch.Tensor:
        """The output of a layer, in the shape of `texts.hidden`.

        Args:
            weights: tensors by the keys of `of_layer[number]`.
        """
        args, further = texts.calls[number]
        found = functional_call(self._layers[number], dict(weights), (texts.hidden, *args), further)
        hidden: torch.Tensor = found[0] if isinstance(found, tuple) else found
        return hidden

    def inputs(self, number: int, weights: Tensors, texts: Texts, linear: str) -> torch.Tensor:
        """The inputs of a linear layer within a layer, [tokens, in]; see `run`."""

        def stop(_: object, args: tuple[torch.Tensor, ...]) -> None:
            raise _ReachedError(args[0])

        hook = self._layers[number].get_submodule(linear).register_forward_pre_hook(stop)
        try:
            self.run(number, weights, texts)
        except _ReachedError as reached:
            return reached.inputs.flatten(0, -2)
        finally:
            hook.remove()
        raise CandidateError(f"layer {number} of the model does not always use {linear}")

    def groups(self, number: int, weights: Tensors, texts: Texts) -> list[list[str]]:
        """The linear layers of a layer that read the same inputs together, in order of use.

        Those that do not read every token once (some experts) are left out.
        """
        tokens, met = texts.hidden.shape[:-1].numel(), []

        def meet(name: str, args: tuple[torch.Tensor, ...]) -> None:
            met.append((name, args[0]))

        linears = [
            (name, module)
            for name, module in self._layers[number].named_modules()
            if isinstance(module, torch.nn.Linear)
        ]
        hooks = [
            module.register_forward_pre_hook(lambda _, args, name=name: meet(name, args))
            for name, module in linears
        ]
        try:
            self.run(number, weights, texts)
        finally:
            for hook in hooks:
                hook.remove()
        names, last = [name for name, _ in met], None
        groups: list[list[str]] = []
        for name, inputs in met:
            if names.count(name) > 1 or inputs.shape[:-1].numel() != tokens:
                continue
            if inputs is last:
                groups[-1].append(name)
            else:
                groups.append([name])
            last = inputs
        return groups


def _empty_model(folder: Path, trust: bool, device: torch.device) -> Any:
    """The modules of a model, with parameters without data, and buffers with theirs."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        with device, init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    except (ValueError, KeyError, ImportError) as error:
        what = f"transformers has no causal language model for {folder.name}"
        raise CandidateError(f"{what}: {error}") from None
    return model.eval().requires_grad_(requires_grad=False)


def _decoder_layers(model: Any, backbone: Any) -> tuple[Any, str]:
    """The list of decoder layers and its name in the backbone."""
    count = model.config.get_text_config().num_hidden_layers
    for name, module in backbone.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module, name
    raise _not_layered(model, f"it has no list of {count} layers")


def _not_layered(model: Any, why: str) -> CandidateError:
    return CandidateError(
        f"{type(model).__name__} cannot be run layer by layer: {why}",
        "use `merge: {method: wudi}`, which needs no data",
    )


def _in_files(name: str, prefix: str, known: set[str]) -> str | None:
    """The name of a tensor in the files, which can lack the prefix of the model."""
    return next((each for each in (name, name.removeprefix(prefix)) if each in known), None)


def _name_of(model: Any, module: Any) -> str:
    """The name of the weight of a module."""
    return next(f"{name}.weight" for name, each in model.named_modules() if each is module)


@contextmanager
def _replaced(layers: Any, function: Any) -> Iterator[None]:
    """Let every layer be the function meanwhile."""
    for layer in layers:
        layer.forward = function
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
