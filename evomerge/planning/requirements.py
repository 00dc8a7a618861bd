"""What a run requires: every figure with its bounds, and how it is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evomerge.config import Config
from evomerge.domain.model import Retention
from evomerge.planning.models import BYTES, ModelFacts
from evomerge.planning.projections import (
    RETENTIONS,
    Durations,
    ProjectedGeneration,
    Projection,
    projections_of,
)
from evomerge.planning.rates import STATED_DOWNLOAD, Rates

_LIBRARIES = 1.0e9  # resident bytes of torch and mergekit
_ENGINE = 1.5e9  # of a GPU: context, kernels, activations of one layer
_WINDOW = 2048  # tokens of a scored sequence where the config sets none
_LOGIT = 6  # bytes of one logit in half precision and of its float32 copy
_LARGEST_SHARE = 0.02  # of the embedding in the weights of a 7B model
_KINSHIP = 4e9  # what a measurement stays below, above the page cache


@dataclass(frozen=True)
class Range:
    """From the shortest to the longest projection of the search."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> Range:
        """The least and the largest of `values`."""
        found = list(values)
        return cls(min(found), max(found))

    @property
    def exact(self) -> bool:
        """Whether every projection gives the same."""
        return self.low == self.high


@dataclass(frozen=True)
class GenerationPlan:
    """One generation; `low` is 0 where a run may be over before."""

    number: int
    merges: Range
    evaluations: Range
    explored: Range
    seconds: Range


@dataclass(frozen=True)
class EndPlan:
    """The end: the best model and the foundation models on what the search never saw.

    Attributes:
        seconds: of the wall clock.
    """

    evaluations: Range
    seconds: Range


@dataclass(frozen=True)
class Hours:
    """Per stage; `wall` is what passes on the clock, merges and evaluations side by side."""

    download: float | None
    merges: Range
    evaluations: Range
    kinship: Range
    wall: Range


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of one piece of work; None where the size of a model is not known.

    Attributes:
        merge: RAM of mergekit.
        adapter: RAM of peft that merges an adapter; None where there is none.
        evaluation: of the device that scores.
        kinship: RAM above the page cache.
    """

    merge: float | None
    evaluation: float | None
    kinship: float
    adapter: float | None = None


@dataclass(frozen=True)
class Plan:
    """What a run asks for.

    Attributes:
        evaluations: in all, those at the end included.
        bounded: whether something ends the search in every projection.
        child: bytes of the weights of one offspring, at most.
        download: bytes to fetch, without those of the models in `unsized`.
        disk: bytes of offspring at once, by retention; None when `child` is not known.
        peaks: the same as a number of models.
        adapters: how many adapters are merged onto the base, into the store.
        adapted: bytes of those, which stay; None when the size of the base is not known.
        workers: evaluations at a time.
        gpus: that are paid for.
        cost: at `price` a GPU-hour; None without a price, or when hours are not known.
    """

    name: str
    models: tuple[ModelFacts, ...]
    generations: tuple[GenerationPlan, ...]
    at_the_end: EndPlan
    merges: Range
    evaluations: Range
    length: Range
    bounded: bool
    longest: str
    shortest: str
    child: int | None
    download: int
    unsized: tuple[str, ...]
    disk: dict[Retention, int | None]
    peaks: dict[Retention, int]
    adapters: int
    adapted: int | None
    memory: Memory
    rates: Rates
    hours: Hours
    workers: int
    gpus: int
    retention: Retention
    price: float | None
    cost: Range | None


def make_plan(
    config: Config,
    models: Sequence[ModelFacts],
    rates: Rates,
    *,
    workers: int,
    gpus: int | None = None,
    price: float | None = None,
) -> Plan:
    """The plan of a run of `config`.

    Args:
        models: the base, then the foundation models in their order.
        workers: evaluation workers.
        gpus: that are paid for; None for one a worker.
        price: of one GPU-hour, in any currency.
    """
    work = Durations(
        rates.merge.or_nothing,
        rates.evaluation.or_nothing,
        rates.kinship.or_nothing,
        workers,
        config.execution.merge_workers,
        {
            split: rates.of_split(split, config).or_nothing
            for split in config.evaluation.held_out_splits
        },
    )
    gpus = workers if gpus is None else gpus
    adapted = [model.size for model in models if model.adapter is not None]
    projections = projections_of(config, work)
    child = child_size(config, models[1:])
    wall = Range.over(projection.seconds / 3600 for projection in projections)
    timed = None not in {rates.merge.seconds, rates.evaluation.seconds}
    shortest = min(projections, key=lambda projection: projection.evaluations)
    longest = max(projections, key=lambda projection: projection.evaluations)
    peaks = {each: max(projection.peak(each) for projection in projections) for each in RETENTIONS}
    return Plan(
        name=config.run.name,
        models=tuple(models),
        generations=_generations(projections),
        at_the_end=EndPlan(
            Range.over(projection.end.evaluations for projection in projections),
            Range.over(projection.end.seconds for projection in projections),
        ),
        merges=Range.over(projection.merges for projection in projections),
        evaluations=Range.over(projection.evaluations for projection in projections),
        length=Range.over(projection.generations for projection in projections),
        bounded=all(projection.bounded for projection in projections),
        longest=longest.stop,
        shortest=shortest.stop,
        child=child,
        download=sum(model.download or 0 for model in models),
        unsized=tuple(model.name for model in models if model.download is None),
        disk={each: None if child is None else peaks[each] * child for each in RETENTIONS},
        peaks=peaks,
        adapters=len(adapted),
        adapted=None if None in adapted else sum(size or 0 for size in adapted),
        memory=memory_of(config, models, child),
        rates=rates,
        hours=_hours(models, projections, rates, wall),
        workers=workers,
        gpus=gpus,
        retention=config.retention,
        price=price,
        cost=Range(wall.low * gpus * price, wall.high * gpus * price)
        if price is not None and timed
        else None,
    )


def child_size(config: Config, foundation: Sequence[ModelFacts]) -> int | None:
    """Bytes of an offspring: its largest parent's weights in `merge.dtype`; None if unknown."""
    sizes = []
    for model in foundation:
        size = model.size
        if config.merge.dtype is not None and model.parameters is not None:
            size = model.parameters * BYTES[config.merge.dtype]
        if size is None:
            return None
        sizes.append(size)
    return max(sizes)


def memory_of(config: Config, models: Sequence[ModelFacts], child: int | None) -> Memory:
    """Estimates, not measurements: what the libraries hold at a time, added up.

    A merge holds a whole output shard until it is written, and the largest tensor of every parent
    and of the base in float32, twice. An evaluation holds the weights and the logits of one batch.
    """
    if child is None:
        return Memory(None, None, _KINSHIP)
    per_weight = BYTES.get(config.merge.dtype or "", 2)
    largest = max(model.largest or 0 for model in models) or child / per_weight * _LARGEST_SHARE
    merge = _LIBRARIES + min(child, _shard(config.merge.options.shard_size)) + 3 * 2 * 4 * largest
    rows = max(model.vocabulary or 0 for model in models) or 32_000
    logits = (
        config.evaluation.batch_size * (config.evaluation.max_length or _WINDOW) * rows * _LOGIT
    )
    scored = child / per_weight * BYTES.get(config.evaluation.dtype, per_weight)
    kinship = min(_KINSHIP, _LIBRARIES + 8 * child)
    whole = [model.size for model in models if model.adapter is not None and model.size]
    # The base in memory, and a weight file of it that is written.
    adapter = _LIBRARIES + 2 * max(whole) if whole else None
    return Memory(merge, _ENGINE + scored + logits, kinship, adapter)


def _shard(text: str) -> int:
    units = {"K": 10**3, "M": 10**6, "B": 10**9}
    unit = text[-1].upper()
    return int(text[:-1]) * units[unit] if unit in units else int(text)


def _generations(projections: Sequence[Projection]) -> tuple[GenerationPlan, ...]:
    return tuple(
        _generation(number, [each.steps[number] if number < len(each.steps) else None
                             for each in projections])
        for number in range(max(len(projection.steps) for projection in projections))
    )  # fmt: skip


def _generation(number: int, steps: Sequence[ProjectedGeneration | None]) -> GenerationPlan:
    """The bounds of one generation; a projection that is over by then does nothing in it."""
    return GenerationPlan(
        number=number,
        merges=Range.over(step.merges if step else 0 for step in steps),
        evaluations=Range.over(step.evaluations if step else 0 for step in steps),
        explored=Range.over(step.explored if step else 0 for step in steps),
        seconds=Range.over(step.seconds if step else 0 for step in steps),
    )


def _hours(
    models: Sequence[ModelFacts], projections: Sequence[Projection], rates: Rates, wall: Range
) -> Hours:
    downloads = [model.download for model in models]
    known = [each for each in downloads if each is not None]
    return Hours(
        download=sum(known) * STATED_DOWNLOAD / 3600 if len(known) == len(downloads) else None,
        merges=Range.over(each.merges * rates.merge.or_nothing / 3600 for each in projections),
        evaluations=Range.over(
            (
                (each.evaluations - each.end.evaluations) * rates.evaluation.or_nothing
                + each.end.work
            )
            / 3600
            for each in projections
        ),
        kinship=Range.over(each.read * rates.kinship.or_nothing / 3600 for each in projections),
        wall=wall,
    )
