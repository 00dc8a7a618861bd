"""Model kinship from weights: sufficient statistics from one pass over safetensors files.

    passes = [measure(base, models, base_id="base")]
    statistics = Statistics.merge(passes)
    statistics.pair("pcc", "a", "b")

`measure` (in `stream`) needs torch and reads weights; everything else here needs numpy only. Names
are imported lazily, so importing this package imports neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evomerge.kinship.errors import KinshipError as KinshipError
    from evomerge.kinship.errors import MissingPairsError as MissingPairsError
    from evomerge.kinship.errors import NonFiniteWeightsError as NonFiniteWeightsError
    from evomerge.kinship.errors import PassFormatError as PassFormatError
    from evomerge.kinship.errors import ShapeMismatchError as ShapeMismatchError
    from evomerge.kinship.errors import WeightFileError as WeightFileError
    from evomerge.kinship.metrics import METRICS as METRICS
    from evomerge.kinship.passes import Pass as Pass
    from evomerge.kinship.statistics import Statistics as Statistics
    from evomerge.kinship.stream import measure as measure
    from evomerge.kinship.union import missing_pairs as missing_pairs

_HOMES = {
    "KinshipError": "errors",
    "METRICS": "metrics",
    "MissingPairsError": "errors",
    "NonFiniteWeightsError": "errors",
    "Pass": "passes",
    "PassFormatError": "errors",
    "ShapeMismatchError": "errors",
    "Statistics": "statistics",
    "WeightFileError": "errors",
    "measure": "stream",
    "missing_pairs": "union",
}

__all__ = [
    "METRICS",
    "KinshipError",
    "MissingPairsError",
    "NonFiniteWeightsError",
    "Pass",
    "PassFormatError",
    "ShapeMismatchError",
    "Statistics",
    "WeightFileError",
    "measure",
    "missing_pairs",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
