"""Compatibility checks of models: architecture, dimensions, tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evomerge.adapters.foundation.source import CONFIG, architecture
from evomerge.adapters.foundation.weights import INPUT_EMBEDDINGS, ReadableModel, Resolved
from evomerge.domain.errors import PreflightError
from evomerge.kinship.headers import StoredTensor

_DIMENSIONS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)
_COMPUTED_BUFFERS = ("inv_freq", "masked_bias")
"""Buffers that older libraries save and newer ones compute; mergekit ignores them."""


def check_architecture(config: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Check that the configs name the same architecture; raises PreflightError."""
    for own, wanted in (
        (architecture(config), architecture(base)),
        (config.get("model_type"), base.get("model_type")),
    ):
        if own != wanted:
            raise PreflightError(
                f"its architecture is {own}, the base model's is {wanted}",
                "merge fine-tunes of one base model",
            )


def check_dimensions(config: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Check dimensions that weights do not determine, such as the number of heads."""
    for key in _DIMENSIONS:
        own, wanted = config.get(key), base.get(key)
        if None not in {own, wanted} and own != wanted:
            raise PreflightError(
                f"its {CONFIG} says {key} {own}, the base model's says {wanted}",
                "merge fine-tunes of one base model",
            )


def check_tensors(candidate: ReadableModel, base: ReadableModel) -> None:
    """Check that all tensors match those of the base; only vocabulary sizes may differ."""
    if not candidate.weights or not base.weights:
        return
    faults = []
    for name in sorted({*candidate.weights, *base.weights}):
        own, wanted = candidate.weights.get(name), base.weights.get(name)
        if own is None and wanted is not None and not _may_lack(wanted, base):
            faults.append(f"{name} is missing")
        elif wanted is None and own is not None and not _may_lack(own, candidate):
            faults.append(f"{name} is not in the base model")
        elif own is not None and wanted is not None and own.shape != wanted.shape:
            rows = (own.rows, wanted.rows) == (candidate.vocabulary, base.vocabulary)
            if not rows or own.shape[1:] != wanted.shape[1:]:
                faults.append(f"{name} is {list(own.shape)}, the base's {list(wanted.shape)}")
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise PreflightError(
            f"its tensors differ from the base model's: {', '.join(faults[:3])}{more}",
            "merge fine-tunes of one base model",
        )


def _may_lack(tensor: StoredTensor, model: ReadableModel) -> bool:
    """Whether another model may lack the tensor: output embeddings are often tied to the input."""
    tied = len(tensor.shape) == 2 and tensor.rows == model.vocabulary
    return tensor.name.endswith(_COMPUTED_BUFFERS) or (
        tied and not tensor.name.endswith(INPUT_EMBEDDINGS)
    )


def check_distinct(foundation: Sequence[Resolved]) -> None:
    """Check that no foundation model occurs twice; raises PreflightError."""
    seen: dict[str, str] = {}
    for model in foundation:
        twin = seen.setdefault(model.foundation.content_id, model.foundation.name)
        if twin != model.foundation.name:
            raise PreflightError(
                f"{twin} and {model.foundation.name} are the same model, file by file",
                "leave one of them out of foundation_models",
            )
