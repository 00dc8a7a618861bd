"""The parameters of a merge at a tensor, as mergekit 0.1.5 evaluates them.

Of the settings of a parameter the most specific counts: the input's own, then those of the merge.
A list of `{filter, value}` gives the first value whose filter is in the tensor's name; a list of
numbers is a gradient, interpolated at the tensor's depth. The depth of layer l of L is l / (L - 1),
of the only layer 1, and 0 for everything outside layers: the embedding, but the last norm and the
output head as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.domain.recipe import Recipe
from evomerge.kinship.errors import KinshipError
from evomerge.kinship.grouping import layer_of


class UnpredictableError(KinshipError):
    """The child of a recipe cannot be told before it is merged; the message says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What of a recipe makes the weights, in the words of mergekit.

    Attributes:
        inputs: ids in merge order; mergekit appends the base where it is none of the parents.
        own: the settings of each input alone, in the order of `inputs`.
        shared: the settings of the merge.
    """

    method: str
    inputs: tuple[str, ...]
    base: str
    own: tuple[Mapping[str, Any], ...]
    shared: Mapping[str, Any]

    @classmethod
    def of(cls, recipe: Recipe) -> Rule:
        """The rule of a recipe.

        Raises:
            UnpredictableError: vocabularies are merged, so that rows change their places.
        """
        if recipe.tokenizer is not None:
            raise UnpredictableError("a merge of vocabularies moves rows of the embeddings")
        parents = [parent.model for parent in recipe.parents]
        if len(set(parents)) < len(parents):
            raise UnpredictableError("a parent stands twice in the recipe")
        own: list[Mapping[str, Any]] = [parent.parameters for parent in recipe.parents]
        if recipe.base not in parents:
            parents.append(recipe.base)
            own.append({})
        return cls(
            recipe.fragment.get("merge_method", recipe.method),
            tuple(parents),
            recipe.base,
            tuple(own),
            recipe.fragment.get("parameters", recipe.parameters),
        )

    def number(self, name: str, tensor: str, depth: float, index: int | None = None) -> float:
        """A parameter at a tensor: of input `index`, or of the merge.

        Raises:
            UnpredictableError: it is given nowhere.
        """
        value = self.setting(name, tensor, depth, index)
        if value is None:
            raise UnpredictableError(f"{self.method} needs the parameter {name}")
        return float(value)

    def setting(self, name: str, tensor: str, depth: float, index: int | None = None) -> Any:
        """Like `number`, as it is written; None where it is not given."""
        scopes = [self.shared] if index is None else [self.own[index], self.shared]
        found = (evaluate(scope[name], tensor, depth) for scope in scopes if name in scope)
        return next((value for value in found if value is not None), None)


def evaluate(setting: Any, tensor: str, depth: float) -> Any:
    """A setting at a tensor of this depth; None where no filter of it is met."""
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        return setting
    if setting and all(isinstance(item, Mapping) for item in setting):
        for item in setting:
            wanted = item.get("filter")
            if wanted in {None, "*"} or wanted in tensor:
                return evaluate(item["value"], tensor, depth)
        return None
    return _gradient(setting, depth) if setting else None


def _gradient(values: Sequence[Any], depth: float) -> Any:
    place = depth * (len(values) - 1)
    left = int(place)
    if any(isinstance(value, bool) for value in values):
        return values[left]
    right = min(left + 1, len(values) - 1)
    return (1 - (place - left)) * float(values[left]) + (place - left) * float(values[right])


def depths(tensors: Iterable[str]) -> dict[str, float]:
    """The depth of every tensor, told from all the names of a model."""
    layers = {name: _layer(name) for name in tensors}
    last: dict[str, int] = {}
    for stack, layer in filter(None, layers.values()):
        last[stack] = max(last.get(stack, 0), layer)
    return {
        name: 0.0 if place is None else place[1] / last[place[0]] if last[place[0]] else 1.0
        for name, place in layers.items()
    }


def _layer(tensor: str) -> tuple[str, int] | None:
    """The stack of layers that a tensor is in (`model.layers`), and which layer of it."""
    layer = layer_of(tensor)
    if layer is None:
        return None
    stack, _, number = layer.rpartition(".")
    return stack, int(number)
