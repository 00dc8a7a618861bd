"""Weight changes per layer between the best model and its parents (Figure 7 of the paper).

They are computed from the Gram matrices that kinship measurements stored, or from the stored
samples of the weights for pairs that were not measured; no weights are read and torch is not
needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evomerge.domain.model import Model
from evomerge.domain.state import RunState

if TYPE_CHECKING:
    from evomerge.kinship.statistics import Statistics


@dataclass(frozen=True)
class LayerChange:
    """The difference of one layer between the best model and another model.

    Attributes:
        other: a parent, or the base model.
        layer: index from 0; `kind` is attention or mlp.
        rms: root mean square of the difference of weights, sqrt(Σ(a − b)² / n).
    """

    other: str
    layer: int
    kind: str
    rms: float


def layer_changes(state: RunState, passes: Path) -> tuple[LayerChange, ...]:
    """The best model against each of its parents, by layer and kind; () if not measured.

    Args:
        passes: the folder of stored measurements over the run's base.
    """
    best = state.best
    if best is None or not best.parents or not passes.is_dir():
        return ()
    from evomerge.adapters.kinship_files import read_passes
    from evomerge.kinship.errors import KinshipError, MissingPairsError
    from evomerge.kinship.statistics import Statistics

    parents = [state.models[name] for name in best.parents]
    try:
        ids = dict.fromkeys(model.content_id for model in (best, *parents))
        statistics = Statistics.merge(read_passes(passes, ids), list(ids))
    except MissingPairsError:
        return tuple(_estimated(state, passes, best, parents))
    except (KinshipError, ValueError, OSError):
        return ()
    return tuple(
        change
        for number, layer in enumerate(statistics.by_layer().values())
        for kind, part in layer.by_kind().items()
        if kind in {"attention", "mlp"} and part.count
        for change in _changes(best, parents, state.start.base.name, number, kind, part)
    )


def _changes(
    best: Model, parents: Sequence[Model], base: str, layer: int, kind: str, part: Statistics
) -> Iterator[LayerChange]:
    for parent in parents:
        distance = part.pair("euclidean", best.content_id, parent.content_id)
        if distance is not None:
            yield LayerChange(parent.name, layer, kind, distance / math.sqrt(part.count))
    at = 1 + part.models.index(best.content_id)
    square = float(part.total[at, at])
    yield LayerChange(base, layer, kind, math.sqrt(max(0.0, square) / part.count))


def _estimated(
    state: RunState, folder: Path, best: Model, parents: Sequence[Model]
) -> Iterator[LayerChange]:
    """The same from samples of the weights."""
    from evomerge.adapters.kinship_files import stored_samples
    from evomerge.kinship.estimates import estimates
    from evomerge.kinship.grouping import kind_of, layer_of, natural

    base = state.start.base
    models = {model.content_id: model.name for model in parents} | {base.content_id: base.name}
    known = stored_samples(folder, base.content_id, [best.content_id, *models])
    if not known.keys() >= {best.content_id, *models}:
        return
    counts: dict[tuple[str, str], int] = {}
    for name, tensor in known[base.content_id].tensors.items():
        layer, kind = layer_of(name), kind_of(name).value
        if layer is not None and kind in {"attention", "mlp"}:
            counts[layer, kind] = counts.get((layer, kind), 0) + tensor.count
    layers = sorted({layer for layer, _ in counts}, key=natural)
    told = estimates(
        known[base.content_id],
        known,
        [(best.content_id, other) for other in models],
        ["euclidean"],
        lambda name: (f"{layer_of(name)} {kind_of(name).value}",),
    )
    for (layer, kind), count in counts.items():
        for other, name in models.items():
            part = told.get(f"{layer} {kind}", {}).get("euclidean", {})
            found = part.get((best.content_id, other))
            if found is not None and found.value is not None:
                rms = found.value / math.sqrt(count)
                yield LayerChange(name, layers.index(layer), kind, rms)
