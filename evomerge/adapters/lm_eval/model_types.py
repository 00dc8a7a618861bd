"""Model types of lm-eval besides `hf` and `vllm`, by name or as `package.module:Class`.

lm-eval registers custom types only when they are imported, hence the second form. Arguments besides
the folder of weights are passed through `evaluation.model_args`.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from evomerge.adapters.lm_eval.json_values import plain
from evomerge.adapters.lm_eval.metrics import no_such, one_line
from evomerge.config import EvaluationConfig

OWN = ("hf", "vllm")
"""Types that `evomerge.adapters.lm_eval.backends` builds itself."""


def model_type(name: str) -> Any:
    """The class of an lm-eval model type.

    Raises:
        ValueError: there is none of this name, or it cannot be imported.
    """
    import lm_eval.models  # noqa: F401, registers the names
    from lm_eval.api.model import LM
    from lm_eval.api.registry import model_registry

    module, colon, member = name.partition(":")
    try:
        if colon:
            found = getattr(importlib.import_module(module), member)
        elif name in model_registry:
            found = model_registry.get(name)
        else:
            raise ValueError(no_such("model type", name, model_registry.keys()))
    except ValueError:
        raise
    except Exception as error:  # importing a module can raise anything
        raise ValueError(f"model type {name!r} cannot be imported: {one_line(error)}") from None
    if not (inspect.isclass(found) and issubclass(found, LM)):
        raise ValueError(f"{name!r} is not a model type of lm-eval (a subclass of lm_eval.api.LM)")
    return found


def problems(config: EvaluationConfig) -> list[str]:
    """Faults of the configured type, one line each; no model is loaded."""
    try:
        names = _argument_names(model_type(config.backend))
    except ValueError as error:
        return [f"evaluation.backend: {error}"]
    if "pretrained" not in names:
        text = "takes no `pretrained` argument, so it cannot load a folder"
        return [f"evaluation.backend: model type {config.backend!r} {text}"]
    asked = {"dtype": config.dtype != "auto", "max_length": config.max_length is not None}
    return [
        f"evaluation.{name}: model type {config.backend!r} takes no such argument"
        for name, set_here in asked.items()
        if set_here and name not in names
    ]


def build(config: EvaluationConfig, model: Path, place: Any) -> Any:
    """A model of the configured type, with those of evomerge's settings that it accepts."""
    found = model_type(config.backend)
    settings: dict[str, Any] = {
        "device": place.device,
        "dtype": config.dtype,
        "batch_size": config.batch_size,
        "max_length": config.max_length,
        "trust_remote_code": place.trust_remote_code,
    }
    names = _argument_names(found)
    given = {name: value for name, value in settings.items() if name in names}
    return found(pretrained=str(model), **given, **config.model_args)


def identity_of(name: str) -> Any:
    """The class of the type as JSON: its name and the digest of its file."""
    return plain(model_type(name))


def _argument_names(found: Any) -> set[str]:
    """The keyword arguments of the constructor, including those that it passes to a base class."""
    names: set[str] = set()
    for cls in found.__mro__:
        if "__init__" not in vars(cls) or cls is object:
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()
        names |= {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    return names - {"self"}
