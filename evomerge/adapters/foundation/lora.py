"""LoRA adapters: checks of their config and file headers before they are merged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evomerge.config import ModelConfig
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding
from evomerge.kinship.headers import StoredTensor

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_PICKLE = "adapter_model.bin"

_PREFIX = "base_model.model."
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector)(\.weight)?"
)
_VOCABULARIES = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")
_REFUSED = {
    "target_parameters": "it changes single parameters (target_parameters)",
    "layer_replication": "it repeats layers (layer_replication)",
    "trainable_token_indices": "it trains single tokens (trainable_token_indices)",
}
_BY_HAND = "merge it with peft (merge_and_unload) and name the folder of the result"

Tensors = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class Lora:
    """An `adapter_config.json`.

    Attributes:
        rank: None if it differs between modules.
        base: name of the model that it was trained on, as recorded by the training.
        transposed: whether weights are stored as (input, output), as in GPT-2.
        method: LoRA, or DoRA.
    """

    rank: int | None
    base: str
    transposed: bool
    method: str


def read_lora(folder: Path) -> Lora:
    """Read the adapter in a folder; raises PreflightError if it cannot be merged."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        message = f"its {ADAPTER_CONFIG} cannot be read: {error}"
        raise PreflightError(message, "fetch it again") from None
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise PreflightError(f"its {ADAPTER_CONFIG} names no peft_type", "save it with peft")
    if config["peft_type"] != "LORA":
        raise PreflightError(f"it is an adapter of type {config['peft_type']}, not LoRA", _BY_HAND)
    for key, message in _REFUSED.items():
        if config.get(key):
            raise PreflightError(message, _BY_HAND)
    return Lora(
        rank=None if config.get("rank_pattern") else _rank(config),
        base=str(config.get("base_model_name_or_path") or ""),
        transposed=bool(config.get("fan_in_fan_out")),
        method="DoRA" if config.get("use_dora") else "LoRA",
    )


def _rank(config: Mapping[str, Any]) -> int:
    rank = config.get("r")
    if type(rank) is not int or rank < 1:
        raise PreflightError(f"its {ADAPTER_CONFIG} says r {rank!r}", "save it with peft again")
    return rank


def check_fits(lora: Lora, adapter: Tensors, base: Tensors, *, tied: bool) -> None:
    """Check that every tensor of the adapter fits the base model.

    Args:
        tied: whether the base model's output and input embeddings are tied.

    Raises:
        PreflightError: with the first tensors that do not fit.
    """
    if not base:
        raise PreflightError(
            "it is an adapter, and the base model's weights are pickled",
            "convert the base model to safetensors",
        )
    faults = list(_faults(lora, adapter, base))
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        named = f" ({lora.base})" if lora.base else ""
        raise PreflightError(
            f"the adapter does not fit the base model: {', '.join(faults[:3])}{more}",
            f"its base_model must be what it was trained on{named}",
        )
    changed = [name for name in changed_tensors(adapter) if _is_vocabulary(name)]
    if tied and changed:
        raise PreflightError(
            f"the adapter changes {changed[0]}, which the base model ties to another tensor",
            _BY_HAND,
        )


def changed_tensors(adapter: Tensors) -> list[str]:
    """The tensors of the base model that an adapter changes or replaces, by name."""
    modules, whole = _sorted(adapter)
    return sorted({*whole, *(f"{module}.weight" for module in modules)})


def described(lora: Lora, adapter: Tensors, base: str) -> str:
    """A short description of an adapter."""
    rank = f", rank {lora.rank}" if lora.rank else ""
    count = len(_sorted(adapter)[0])
    modules = f" on {count} modules" if count else ""
    return f"a {lora.method} adapter{rank}{modules}; it is merged onto {base} once, into the store"


def trained_on_another(lora: Lora, name: str, base: ModelConfig) -> Finding | None:
    """A warning if the adapter names a different base model than the config."""
    if not lora.base or _last(lora.base) in {_last(base.source), base.short_name.lower()}:
        return None
    return Finding(
        "warning",
        name,
        f"the adapter was trained on {lora.base}, and is merged onto {base.source}",
        "make sure that they are the same model",
    )


def _last(name: str) -> str:
    return Path(name.rstrip("/")).name.lower()


def _is_vocabulary(tensor: str) -> bool:
    return tensor.removesuffix(".weight").rpartition(".")[2] in _VOCABULARIES


def _sorted(adapter: Tensors) -> tuple[dict[str, dict[str, StoredTensor]], Tensors]:
    """The tensors of every LoRA module by name, and those that replace tensors of the base."""
    modules: dict[str, dict[str, StoredTensor]] = {}
    whole: dict[str, StoredTensor] = {}
    for name, tensor in adapter.items():
        own = name.removeprefix(_PREFIX)
        found = _PART.fullmatch(own)
        if found is None:
            whole[own.replace(".modules_to_save", "").replace(".base_layer", "")] = tensor
        else:
            modules.setdefault(found["module"], {})[found["part"]] = tensor
    return modules, whole


def _faults(lora: Lora, adapter: Tensors, base: Tensors) -> Iterator[str]:
    modules, whole = _sorted(adapter)
    if not modules and not whole:
        yield "it holds no tensors"
    for name, tensor in sorted(whole.items()):
        if name not in base:
            yield f"the base has no {name}"
        elif base[name].shape != tensor.shape:
            yield f"{name} is {list(tensor.shape)}, the base's {list(base[name].shape)}"
    for module, parts in sorted(modules.items()):
        weight = base.get(f"{module}.weight")
        if weight is None or len(weight.shape) != 2:
            yield f"the base has no {module}.weight" if weight is None else f"{module} is no matrix"
            continue
        fault = _fault_of_module(lora, parts, weight)
        if fault:
            yield f"{module} {fault}"


def _fault_of_module(lora: Lora, parts: Tensors, weight: StoredTensor) -> str | None:
    """Check that B (outputs, rank) times A (rank, inputs) has the shape of the weight."""
    embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
    kind = "lora_embedding_" if embedding else "lora_"
    try:
        down, up = parts[f"{kind}A"].shape, parts[f"{kind}B"].shape
    except KeyError as missing:
        return f"lacks {missing.args[0]}"
    if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
        return f"has parts that do not belong together, {list(up)} and {list(down)}"
    if lora.rank not in {None, down[0]}:
        return f"has rank {down[0]}, and {ADAPTER_CONFIG} says {lora.rank}"
    made = [up[0], down[1]]
    wanted = [*reversed(weight.shape)] if embedding or lora.transposed else [*weight.shape]
    return None if made == wanted else f"is trained for {made}, the base's is {wanted}"
