"""Kinship as it is shown: a clustered matrix, and merge gain against the parents' kinship."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from evomerge.analysis.clustering import cluster
from evomerge.analysis.correlation import Correlation, correlate
from evomerge.analysis.merges import merges
from evomerge.domain.kinship import KinshipMatrix, Metric
from evomerge.domain.state import RunState
from evomerge.strategies import merge_kinds

SHOWN = 60
"""The largest number of models in a matrix."""

ONE_LINEAGE = 0.9
"""Models of a higher kinship count as one in correlations: where the paper's early stop is."""

FEWEST = 6
"""The least number of different pairs of parents for a correlation."""


@dataclass(frozen=True)
class Kin:
    """The kinship of two models; `error` is half the 95 % interval of an estimate, else None."""

    a: str
    b: str
    value: float | None
    error: float | None


@dataclass(frozen=True)
class Kinship:
    """A kinship matrix.

    Attributes:
        order: names, similar models next to each other (average-linkage clustering).
        links: the dendrogram, see `Clustering`.
        pairs: each unordered pair of `order` once; `value` is None if unknown or undefined.
        left_out: number of models that are not among `order`.
    """

    metric: Metric
    order: tuple[str, ...]
    links: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    pairs: tuple[Kin, ...]
    left_out: int = 0


@dataclass(frozen=True)
class MergePoint:
    """A merge with the kinship of its parents by the run's metric and its gain over their mean.

    Attributes:
        lineages: its parents, where close relatives of each other have one name.
    """

    model: str
    generation: int
    kind: str
    parents: tuple[str, ...]
    kinship: Mapping[str, float]
    parents_gain: float
    lineages: tuple[str, ...]


@dataclass(frozen=True)
class MergeGains:
    """Merge gain over the parents against their kinship.

    Merges of the same parents, and of close relatives of them (kinship above `ONE_LINEAGE`), are
    not independent: correlations are over the means of such merges. `pairs` is their number, and
    both correlations are None if it is below `FEWEST`.

    Attributes:
        gain, size: the correlation of kinship with the gain, and with its absolute value.
    """

    metric: Metric
    points: tuple[MergePoint, ...]
    pairs: int
    gain: Correlation | None
    size: Correlation | None


def kinship_view(models: Sequence[str], kinship: KinshipMatrix, left_out: int = 0) -> Kinship:
    """The matrix of `models`, in the order of a clustering."""
    clustering = cluster(models, kinship)
    order = clustering.order
    return Kinship(
        kinship.metric,
        order,
        clustering.links,
        tuple(
            Kin(a, b, kinship.between(a, b), kinship.error(a, b)) for a, b in combinations(order, 2)
        ),
        left_out,
    )


def kinship_of_run(state: RunState, most: int = SHOWN) -> Kinship | None:
    """The scored models of which a kinship is known: foundation models, then the best ones.

    None for fewer than two.
    """
    known = {name for pair, v in state.kinship.values.items() if v is not None for name in pair}
    scored = [model for model in state.models.values() if model.scores is not None]
    foundation = [m.name for m in scored if not m.generation and m.name in known]
    ranked = [m.name for m in state.ranking if m.generation and m.name in known]
    chosen = set([*foundation, *ranked][:most])
    names = [model.name for model in scored if model.name in chosen]
    if len(names) < 2:
        return None
    return kinship_view(names, state.kinship, len(scored) - len(names))


def merge_gains(state: RunState, uncertain: Collection[str] = ()) -> MergeGains | None:
    """The merges of some of the models; None if there are none.

    Merges of all foundation models at once, which share one kinship, are left out.

    Args:
        uncertain: models whose parents are assumed; they are left out too.
    """
    of_all = {name for name, kind in merge_kinds(state.start).items() if kind.of_all}
    metric = state.start.metric
    known = [
        merge
        for merge in merges(state, uncertain)
        if merge.kind not in of_all and metric in merge.kinship
    ]
    if not known:
        return None
    lineages = _lineages(state, {name for merge in known for name in merge.parents})
    points = tuple(
        MergePoint(
            merge.model,
            merge.generation,
            merge.kind,
            merge.parents,
            {each.value: value for each, value in merge.kinship.items()},
            merge.gain,
            tuple(sorted({lineages[parent] for parent in merge.parents})),
        )
        for merge in known
    )
    found = MergeGains(metric, points, len({p.lineages for p in points}), None, None)
    if found.pairs < FEWEST:
        return found
    kinship, gains = _means(points, metric)
    return replace(
        found,
        gain=correlate(kinship, gains),
        size=correlate(kinship, [abs(gain) for gain in gains]),
    )


def _means(points: Sequence[MergePoint], metric: Metric) -> tuple[list[float], list[float]]:
    """Mean kinship and gain of the merges of the same lineages."""
    groups: dict[tuple[str, ...], list[MergePoint]] = {}
    for point in points:
        groups.setdefault(point.lineages, []).append(point)
    kinship = [_mean([p.kinship[metric.value] for p in group]) for group in groups.values()]
    return kinship, [_mean([p.parents_gain for p in group]) for group in groups.values()]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _lineages(state: RunState, names: Collection[str]) -> dict[str, str]:
    """The first model of each group of close relatives, by model; foundation models are apart.

    A model joins the group of the closest model before it whose kinship is above `ONE_LINEAGE`.
    """
    found: dict[str, str] = {}
    for name in (name for name in state.models if name in names):
        closest = None
        if state.models[name].generation and state.start.metric is not Metric.EUCLIDEAN:
            near = ((state.kinship.between(name, other) or 0.0, other) for other in found)
            closest = max(near, default=None, key=lambda each: each[0])
        found[name] = found[closest[1]] if closest and closest[0] > ONE_LINEAGE else name
    return found
