"""Matching of the models' tensors to those of the base, and the rows that all have in common.

Tensors are matched by name. Where a model lacks the base's name, wrappers are stripped from the
front of the names that are unmatched on both sides (`model.`, `language_model.`, ...; see
`WRAPPERS`): `layers.0.mlp.up_proj.weight` and `model.language_model.layers.0.mlp.up_proj.weight`
both are `model.layers.0.mlp.up_proj.weight`. This requires that exactly one unmatched name on each
side has that ending. A tied output head that is not stored counts as missing, so that the embedding
counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from evomerge.kinship.errors import KinshipError, ShapeMismatchError
from evomerge.kinship.grouping import natural
from evomerge.kinship.headers import StoredTensor
from evomerge.kinship.passes import Shape

FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
"""The dtypes that are weights. Quantised ones (8 bits and less) are meaningless without their
scales, so they are left out and reported, as integers are."""

WRAPPERS = frozenset(
    ("model", "language_model", "text_model", "base_model", "transformer", "module", "llm")
)

Filling = TypeVar("Filling", tuple[str, ...], Mapping[str, str])


@dataclass(frozen=True, slots=True)
class SharedTensor:
    """A floating-point tensor of the base with its counterparts in the models that have it.

    Compared are the first `rows` rows: the fewest that the base or a model has.
    """

    base: StoredTensor
    models: Mapping[str, StoredTensor]
    rows: int

    @property
    def name(self) -> str:
        """The base's name of the tensor."""
        return self.base.name

    @property
    def count(self) -> int:
        """Elements compared."""
        return self.rows * self.base.row_size


@dataclass(frozen=True, slots=True)
class Matching:
    """Every floating-point tensor of the base in natural order, and what was left out.

    Attributes:
        extra: per model, its tensors that the base lacks.
        skipped: per model or base, tensor name to dtype, what is not floating-point or is empty.
        renamed: per model, the base's name to the model's.

    Models without any are missing in these mappings.
    """

    tensors: tuple[SharedTensor, ...]
    extra: Mapping[str, tuple[str, ...]]
    skipped: Mapping[str, Mapping[str, str]]
    renamed: Mapping[str, Mapping[str, str]]

    def shape(self, model: str) -> Shape:
        """The rows of a model, as `passes.Pass.shape`."""
        held = ((one.base, one.models.get(model)) for one in self.tensors)
        return tuple(
            sorted((base.name, min(base.rows, one.rows) if one else 0) for base, one in held)
        )


def match(
    base_id: str,
    base: Mapping[str, StoredTensor],
    models: Mapping[str, Mapping[str, StoredTensor]],
) -> Matching:
    """Match the stored tensors of `models`, by id, to those of the base.

    Raises:
        ShapeMismatchError: two tensors of one name differ in more than the number of rows.
        KinshipError: a model shares no floating-point tensor with the base.
    """
    found = {model: _find(base, stored) for model, stored in models.items()}
    weights = {name: stored for name, stored in base.items() if _is_weight(stored)}
    skipped: dict[str, dict[str, str]] = {base_id: _named(base.items())}
    for model, pairs in found.items():
        skipped[model] = _named((name, pairs[name]) for name in weights if name in pairs)
    tensors = tuple(
        _share(
            stored,
            {
                model: pairs[stored.name]
                for model, pairs in found.items()
                if stored.name in pairs and stored.name not in skipped[model]
            },
        )
        for stored in sorted(weights.values(), key=lambda stored: natural(stored.name))
    )
    for model in models:
        if not any(model in tensor.models for tensor in tensors):
            raise KinshipError(f"model {model} shares no floating-point tensor with {base_id}")
    extra = {
        model: tuple(sorted(set(stored) - {one.name for one in found[model].values()}, key=natural))
        for model, stored in models.items()
    }
    renamed = {
        model: {name: one.name for name, one in pairs.items() if one.name != name}
        for model, pairs in found.items()
    }
    return Matching(tensors, _filled(extra), _filled(skipped), _filled(renamed))


def _find(
    base: Mapping[str, StoredTensor], model: Mapping[str, StoredTensor]
) -> dict[str, StoredTensor]:
    """The model's tensors by the base's names."""
    found = {name: model[name] for name in base if name in model}
    theirs = _by_ending(name for name in model if name not in found)
    for ending, names in _by_ending(name for name in base if name not in found).items():
        candidates = theirs.get(ending, [])
        if len(names) == 1 and len(candidates) == 1:
            found[names[0]] = model[candidates[0]]
    return found


def _by_ending(names: Iterable[str]) -> dict[str, list[str]]:
    endings: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        while len(parts) > 1 and parts[0] in WRAPPERS:
            del parts[0]
        endings.setdefault(".".join(parts), []).append(name)
    return endings


def _is_weight(stored: StoredTensor) -> bool:
    return stored.dtype in FLOATS and stored.size > 0


def _named(tensors: Iterable[tuple[str, StoredTensor]]) -> dict[str, str]:
    """Tensors that are not weights, with the reason."""
    return {
        name: stored.dtype if stored.size else "empty"
        for name, stored in tensors
        if not _is_weight(stored)
    }


def _share(base: StoredTensor, models: Mapping[str, StoredTensor]) -> SharedTensor:
    for model, stored in models.items():
        if len(stored.shape) != len(base.shape) or stored.shape[1:] != base.shape[1:]:
            raise ShapeMismatchError(
                f"tensor {base.name} is {list(stored.shape)} in model {model} and "
                f"{list(base.shape)} in the base",
                "models of one kinship must share their base's architecture",
            )
    rows = min([base.rows, *(stored.rows for stored in models.values())])
    return SharedTensor(base, models, rows)


def _filled(items: Mapping[str, Filling]) -> dict[str, Filling]:
    return {source: item for source, item in items.items() if item}
