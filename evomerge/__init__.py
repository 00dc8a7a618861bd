"""Evolution of large language models by merging (arXiv 2410.12613).

    import evomerge

    run = evomerge.run("my.yaml")
    run.models().sort_values("score", ascending=False)

The functions and classes are those of `evomerge.api`, imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from evomerge.api import (
        Callback,
        EvomergeError,
        Run,
        compare,
        kinship,
        load,
        run,
        runs,
        unbundle,
    )

__all__ = [
    "Callback",
    "EvomergeError",
    "Run",
    "compare",
    "kinship",
    "load",
    "run",
    "runs",
    "unbundle",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'evomerge' has no attribute {name!r}")
    return getattr(import_module("evomerge.api"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
