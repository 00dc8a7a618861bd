"""RegMean++ over whole models, layer by layer: the disentangled task vectors of every tensor.

The texts of the calibration go through two models at a time: the one merged so far, and for every
task the parent that answers for it. `merge_rules.regmean` makes task vectors of the inputs that the
linear layers of both see; other tensors get those of WUDI, which needs no inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from mergekit.common import dtype_from_name
from mergekit.io.lazy_tensor_loader import LazyTensorLoader, ShardedTensorIndex
from mergekit.options import MergeOptions
from transformers import AutoTokenizer

from evomerge.adapters.layers import Layers, Tensors, Texts
from evomerge.domain.errors import CandidateError
from evomerge.domain.recipe import Recipe
from evomerge.execution.calibration import ANCHOR, ITEMS
from evomerge.merge_rules.regmean import Moments, of_embedding, solved
from evomerge.merge_rules.wudi import disentangled
from evomerge.ports import Progress

WUDI_EPSILON = 0.3
"""Of the tensors whose inputs are not known."""

_ANCHORED = ""
"""The name of the anchor among the tasks; the base answers for it."""
_TOKENS = 4096
"""Of one batch, at most, unless a single text has more."""
_ANCHOR_LENGTH = 512
_LONGEST = 8192

Vectors = tuple[str, list[torch.Tensor]]
"""The name of a tensor and its disentangled task vectors, one for each parent."""


def task_vectors(
    recipe: Recipe, folders: Mapping[str, Path], options: MergeOptions, progress: Progress
) -> Iterator[Vectors]:
    """The disentangled task vectors of every tensor of the base, in the dtype of the child.

    Progress is in layers.

    Args:
        recipe: of the task vectors, which has `rows`.
        folders: of the base, the parents and the calibration, by content id.

    Raises:
        CandidateError: the models cannot be run layer by layer, or do not have the same tensors.
    """
    device, trust = torch.device(options.device), bool(options.trust_remote_code)
    models = {name: _Weights(folders[name], device) for name in (recipe.base, *recipe.rows)}
    base = models.pop(recipe.base)
    layers = Layers(folders[recipe.base], base.names, trust=trust, device=device)
    tokens = _tokens(folders[recipe.base], folders[str(recipe.calibration)], trust, device)
    answering = {
        task: [parent.model for parent in recipe.parents if task in parent.parameters["tasks"]]
        for task in tokens
    }
    answering[_ANCHORED] = [recipe.base]
    regression = _Regression(
        layers, recipe.base, base, models, float(recipe.parameters["ridge"]), tokens, answering
    )
    dtype = dtype_from_name(recipe.dtype)
    with torch.no_grad():
        for name, vectors in regression.vectors(progress):
            yield name, [vector.to(dtype or base.dtypes[name]) for vector in vectors]


class _Weights:
    """The weights of a model, read tensor by tensor from its files.

    Attributes:
        names: of all tensors, sorted.
        dtypes: of the tensors that were read, as they are in the files.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._device = str(device)
        self._name = folder.name
        self._loader = LazyTensorLoader(ShardedTensorIndex.from_disk(str(folder)))
        self.names = sorted(self._loader.index.tensor_paths)
        self.dtypes: dict[str, torch.dtype] = {}

    def read(self, name: str) -> torch.Tensor:
        """A tensor in float32."""
        tensor = self._loader.get_tensor(name, self._device, raise_on_missing=False)
        if tensor is None:
            raise CandidateError(f"{self._name} has no tensor {name}")
        self.dtypes[name] = tensor.dtype
        return tensor.float()

    def of(self, names: Mapping[str, str]) -> dict[str, torch.Tensor]:
        """Tensors by the keys of `names`, whose values are their names in the files."""
        return {key: self.read(name) for key, name in names.items()}


@dataclass
class _Passage:
    """Texts of one task on their way through the merged model and those that answer for it.

    Attributes:
        share: weight of one token, so that all of a task weigh 1 together.
        own: by the content ids of the models that answer for it.
    """

    share: float
    merged: Texts
    own: dict[str, Texts]


class _Regression:
    """The passage of all texts through all layers.

    Args:
        models: the n parents by content id.
        tokens: batches of texts of equal length, [texts, tokens], by task.
        answering: the content ids of the models that answer for each task.
    """

    def __init__(
        self,
        layers: Layers,
        base_id: str,
        base: _Weights,
        models: Mapping[str, _Weights],
        ridge: float,
        tokens: Mapping[str, Sequence[torch.Tensor]],
        answering: Mapping[str, Sequence[str]],
    ) -> None:
        self._layers = layers
        self._base_id = base_id
        self._base = base
        self._models = models
        self._ridge = ridge
        self._tokens = {task: batches for task, batches in tokens.items() if answering[task]}
        self._answering = answering
        self._passages: list[_Passage] = []

    def vectors(self, progress: Progress) -> Iterator[Vectors]:
        """The task vectors of all tensors, float32."""
        layers, left = self._layers, dict.fromkeys(self._base.names)
        outer = self._weights(layers.outer)
        merged = dict(outer[self._base_id])
        for key, vectors in self._of_outer(outer):
            merged[key] = merged[key] + torch.stack(vectors).sum(0)
            del left[layers.outer[key]]
            yield layers.outer[key], vectors
        self._start(outer, merged)
        del outer  # embeddings are large
        for number, names in enumerate(layers.of_layer):
            progress(number, len(layers))
            for key, vectors in self._of_layer(number):
                del left[names[key]]
                yield names[key], vectors
        if layers.head is not None and layers.head in left:
            yield self._of_head(layers.head, merged)
            del left[layers.head]
        for name in left:
            base = self._base.read(name)
            yield name, self._without_inputs([each.read(name) - base for each in self._parents])
        progress(len(layers), len(layers))

    @property
    def _parents(self) -> list[_Weights]:
        return list(self._models.values())

    def _weights(self, names: Mapping[str, str]) -> dict[str, dict[str, torch.Tensor]]:
        """Tensors of the base and all parents, by content id."""
        everyone = {self._base_id: self._base, **self._models}
        return {each: weights.of(names) for each, weights in everyone.items()}

    def _deltas(self, weights: Mapping[str, Tensors], key: str) -> list[torch.Tensor]:
        return [weights[each][key] - weights[self._base_id][key] for each in self._models]

    def _without_inputs(self, deltas: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return list(disentangled(deltas, WUDI_EPSILON))

    def _of_outer(self, weights: Mapping[str, Tensors]) -> Iterator[tuple[str, list[torch.Tensor]]]:
        """The task vectors of embeddings and norms outside of the layers."""
        for key, name in self._layers.outer.items():
            deltas = self._deltas(weights, key)
            if name == self._layers.embedding:
                counts = [self._frequencies(each, len(deltas[0])) for each in self._models]
                yield key, of_embedding(deltas, counts, self._ridge)
            else:
                yield key, self._without_inputs(deltas)

    def _frequencies(self, parent: str, size: int) -> torch.Tensor:
        """The share of each token of the vocabulary in the tasks of a parent, which weigh alike."""
        total = torch.zeros(size, device=self._layers.device)
        for task, batches in self._tokens.items():
            if parent in self._answering[task]:
                count = torch.bincount(torch.cat([b.flatten() for b in batches]), minlength=size)
                total += count / count.sum()
        return total

    def _start(self, outer: Mapping[str, Tensors], merged: Tensors) -> None:
        """Let all texts enter the models that they go through."""
        for task, batches in self._tokens.items():
            size = sum(batch.numel() for batch in batches) * len(self._answering[task])
            for batch in batches:
                own = {
                    each: self._layers.started(outer[each], batch) for each in self._answering[task]
                }
                first = self._layers.started(merged, batch)
                self._passages.append(_Passage(1.0 / size, first, own))

    def _of_layer(self, number: int) -> Iterator[tuple[str, list[torch.Tensor]]]:
        """The task vectors of a layer; then all texts pass it."""
        layers = self._layers
        weights = self._weights(layers.of_layer[number])
        merged = dict(weights[self._base_id])
        groups = layers.groups(number, merged, self._passages[0].merged)
        keys = [[f"{linear}.weight" for linear in group] for group in groups]
        for key in sorted(merged.keys() - {key for group in keys for key in group}):
            vectors = self._without_inputs(self._deltas(weights, key))
            merged[key] = merged[key] + torch.stack(vectors).sum(0)
            yield key, vectors
        for group, linears in zip(keys, groups, strict=True):

            def inputs(weights: Tensors, texts: Texts, linear: str = linears[0]) -> torch.Tensor:
                return layers.inputs(number, weights, texts, linear)

            for key, vectors in self._solved(group, weights, merged, inputs).items():
                merged[key] = merged[key] + torch.stack(vectors).sum(0)
                yield key, vectors
        for passage in self._passages:
            passage.merged = self._passed(number, merged, passage.merged)
            for each, texts in passage.own.items():
                passage.own[each] = self._passed(number, weights[each], texts)

    def _passed(self, number: int, weights: Tensors, texts: Texts) -> Texts:
        return replace(texts, hidden=self._layers.run(number, weights, texts))

    def _of_head(self, name: str, merged: Tensors) -> Vectors:
        """The task vectors of an output matrix of its own."""
        weights = self._weights({**self._layers.outer, name: name})

        def inputs(weights: Tensors, texts: Texts) -> torch.Tensor:
            return self._layers.finished({key: weights[key] for key in self._layers.outer}, texts)

        return name, self._solved([name], weights, merged, inputs)[name]

    def _solved(
        self,
        keys: Sequence[str],
        weights: Mapping[str, Tensors],
        merged: Tensors,
        inputs: Callable[[Tensors, Texts], torch.Tensor],
    ) -> dict[str, list[torch.Tensor]]:
        """The task vectors of matrices that read the same inputs, which `inputs` computes.

        What counters the drift where the base answers is shared by all parents.
        """
        base, device = weights[self._base_id], self._layers.device
        size = base[keys[0]].shape[1]
        targets = {
            key: {each: torch.zeros_like(base[key]) for each in self._models} for key in keys
        }
        total = torch.zeros(size, size, device=device)
        for each, own in weights.items():
            moments = Moments.zero(size, device)
            for passage in self._passages:
                if each in passage.own:
                    seen = inputs(merged, passage.merged)
                    moments.add(seen, inputs(own, passage.own[each]), passage.share)
            total += moments.gram
            for key in keys:
                target = moments.target(own[key] - base[key], own[key])
                to = [each] if each in self._models else [*self._models]
                for parent in to:
                    targets[key][parent] += target / len(to)
        return {key: solved([*targets[key].values()], total, self._ridge) for key in keys}


def _tokens(
    folder: Path, calibration: Path, trust: bool, device: torch.device
) -> dict[str, list[torch.Tensor]]:
    """The tokens of each task's texts and of the anchor, in batches of equal length."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    longest = min(config.get("max_position_embeddings") or _LONGEST, _LONGEST)
    texts: dict[str, list[list[int]]] = {}
    for line in (calibration / ITEMS).read_bytes().splitlines():
        item = json.loads(line)
        begun = tokenizer.bos_token is not None and item["text"].startswith(tokenizer.bos_token)
        found = tokenizer.encode(item["text"], add_special_tokens=not begun)
        texts.setdefault(item["task"], []).append(found[-longest:])
    anchor = calibration / ANCHOR
    if anchor.is_file():
        found = tokenizer.encode(anchor.read_text(encoding="utf-8"), verbose=False)
        length = min(longest, _ANCHOR_LENGTH)
        texts[_ANCHORED] = [found[at : at + length] for at in range(0, len(found), length)]
    return {task: _batches(each, device) for task, each in texts.items()}


def _batches(texts: Sequence[Sequence[int]], device: torch.device) -> list[torch.Tensor]:
    """Texts of equal length together, shortest first."""
    by_length: dict[int, list[Sequence[int]]] = {}
    for text in texts:
        by_length.setdefault(len(text), []).append(text)
    batches = []
    for length in sorted(by_length.keys() - {0}):
        same, size = by_length[length], max(1, _TOKENS // length)
        batches += [
            torch.tensor(same[at : at + size], device=device) for at in range(0, len(same), size)
        ]
    return batches
