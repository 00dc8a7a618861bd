"""Weight changes per layer between the best model and its parents (Figure 7 of the paper).

They are estimated from the stored samples of the weights; no weights are read and torch is not
needed.
"""

from __future__ import annotations

import math
from pathlib import Path

from evomerge.domain.state import RunState
from evomerge.views.run import LayerChange


def layer_changes(state: RunState, samples: Path) -> tuple[LayerChange, ...]:
    """The best model against each of its parents and the base, by layer and kind.

    Empty if one of them has no sample.

    Args:
        samples: the folder of stored samples over the run's base.
    """
    best = state.best
    if best is None or not best.parents or not samples.is_dir():
        return ()
    from evomerge.adapters.kinship_files import stored_samples
    from evomerge.kinship.estimates import estimates
    from evomerge.kinship.grouping import kind_of, layer_of, natural

    parents = [state.models[name] for name in best.parents]
    base = state.start.base
    models = {model.content_id: model.name for model in parents} | {base.content_id: base.name}
    known = stored_samples(samples, base.content_id, [best.content_id, *models])
    if not known.keys() >= {best.content_id, *models}:
        return ()
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
    changes = []
    for (layer, kind), count in counts.items():
        part = told.get(f"{layer} {kind}", {}).get("euclidean", {})
        for other, name in models.items():
            found = part.get((best.content_id, other))
            if found is not None and found.value is not None:
                rms = found.value / math.sqrt(count)
                changes.append(LayerChange(name, layers.index(layer), kind, rms))
    return tuple(changes)
