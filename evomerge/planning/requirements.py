"""The requirements of a run, with lower and upper bounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evomerge.config import Config, RegmeanMerge, WudiMerge
from evomerge.domain.model import Retention
from evomerge.planning.models import BYTES, ModelFacts
from evomerge.planning.projections import (
    RETENTIONS,
    Durations,
    ProjectedGeneration,
    Projection,
    projections_of,
)
from evomerge.planning.rates import STATED_DOWNLOAD, Rate, Rates, most_parents
from evomerge.stopping import budget_of

_LIBRARIES = 1.0e9  # resident bytes of torch and mergekit
_ENGINE = 1.5e9  # of a GPU: context, kernels, activations of one layer
_BATCH = 8  # requests of a batch, where a probe will choose it
_WINDOW = 2048  # tokens of a scored sequence if the config has no `max_length`
_LOGIT = 6  # bytes of one logit in half precision and of its float32 copy
_LARGEST_SHARE = 0.02  # size of the embedding relative to a 7B model
_LARGEST_LAYER = 1 / 24  # of a model
_KINSHIP = 4e9  # limit of the memory of a measurement, without page cache


@dataclass(frozen=True)
class Range:
    """The smallest and largest value over all projections."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> Range:
        """The range of `values`, which must not be empty."""
        found = list(values)
        return cls(min(found), max(found))

    @property
    def exact(self) -> bool:
        """Whether both bounds are equal."""
        return self.low == self.high


@dataclass(frozen=True)
class GenerationPlan:
    """One generation; lower bounds are 0 if the run may end before it."""

    number: int
    merges: Range
    evaluations: Range
    explored: Range
    seconds: Range


@dataclass(frozen=True)
class EndPlan:
    """Held-out evaluation at the end.

    Attributes:
        seconds: wall clock.
    """

    evaluations: Range
    seconds: Range


@dataclass(frozen=True)
class Hours:
    """Hours per stage; `wall` is the wall clock, with merges and evaluations in parallel."""

    download: float | None
    task_vectors: Range
    merges: Range
    evaluations: Range
    kinship: Range
    wall: Range


@dataclass(frozen=True)
class Memory:
    """Peak memory of operations, in bytes; None if the size of a model is unknown.

    Attributes:
        merge: RAM of a merge.
        evaluation: memory of the evaluation device.
        kinship: RAM without page cache.
        adapter: RAM of merging an adapter; None without adapters.
        engine_share: share of a GPU's memory that vllm reserves during the run; None for other
            backends, which free it after each evaluation.
        beside_merges: whether merges may use the same GPU.
    """

    merge: float | None
    evaluation: float | None
    kinship: float
    adapter: float | None = None
    engine_share: float | None = None
    beside_merges: bool = False


@dataclass(frozen=True)
class OtherBackend:
    """The part of a plan that differs with another backend; ranges are hours, except `cost`."""

    backend: str
    evaluation: Rate
    evaluations: Range
    wall: Range
    cost: Range | None


@dataclass(frozen=True)
class Plan:
    """The requirements of a run.

    Attributes:
        evaluations: as `RunState.evaluations`; the held-out ones are in `at_the_end`.
        length: number of generations.
        bounded: whether the search ends in every projection.
        longest, shortest: why the longest and the shortest projection end.
        child: maximum bytes of the weights of a child.
        download: bytes to download, without the models in `unsized`.
        disk: peak bytes of offspring and disentangled task vectors, by retention; None if `child`
            is unknown.
        peaks: the same as a number of models, without task vectors.
        task_vectors: number of disentangled task vectors at once, each of the size of a child.
        adapters: number of adapters that are merged onto the base.
        adapted: bytes of the merged adapters in the store; None if unknown.
        workers: number of parallel evaluations.
        gpus: number of GPUs that are paid for.
        cost: at `price` per GPU-hour; None without a price or if the hours are unknown.
        other_backend: the alternative, vllm for hf and hf for vllm; None if its hours are unknown.
    """

    name: str
    backend: str
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
    task_vectors: int
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
    other_backend: OtherBackend | None = None


def with_alternative(plan: Plan, other: Plan) -> Plan:
    """`plan` with `other`, the plan of the same run with another backend, as its alternative."""
    alternative = OtherBackend(
        other.backend, other.rates.evaluation, other.hours.evaluations, other.hours.wall, other.cost
    )
    return replace(plan, other_backend=alternative)


def make_plan(
    config: Config,
    models: Sequence[ModelFacts],
    rates: Rates,
    *,
    workers: int,
    gpus: int | None = None,
    price: float | None = None,
) -> Plan:
    """Plan a run of `config`.

    Args:
        models: the base, then the foundation models in the order of the config.
        workers: number of evaluation workers.
        gpus: number of GPUs that are paid for; default: one per worker.
        price: of a GPU-hour; default: that of the config's `max_cost`, if it has one.
        price: price of a GPU-hour, in any currency.
    """
    gpus = workers if gpus is None else gpus
    limit = budget_of(config.stopping).max_cost
    price = limit.price_per_gpu_hour if price is None and limit else price
    work = Durations(
        rates.merge.or_zero,
        rates.evaluation.or_zero,
        rates.kinship.or_zero,
        rates.task_vector.or_zero,
        workers,
        config.execution.merge_workers,
        gpus,
        {
            split: rates.of_split(split, config).or_zero
            for split in config.evaluation.held_out_splits
        },
    )
    adapted = [model.size for model in models if model.adapter is not None]
    projections = projections_of(config, work)
    child = child_size(config, models[1:])
    wall = Range.over(projection.seconds / 3600 for projection in projections)
    timed = None not in {rates.merge.seconds, rates.evaluation.seconds}
    shortest = min(projections, key=lambda projection: projection.evaluations)
    longest = max(projections, key=lambda projection: projection.evaluations)
    peaks = {each: max(projection.peak(each) for projection in projections) for each in RETENTIONS}
    room = {each: max(projection.room(each) for projection in projections) for each in RETENTIONS}
    return Plan(
        name=config.run.name,
        backend=config.evaluation.backend,
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
        disk={each: None if child is None else room[each] * child for each in RETENTIONS},
        peaks=peaks,
        task_vectors=max(
            step.vectors[config.retention] for each in projections for step in each.steps
        ),
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
    """Bytes of a child: its largest parent's weights in `merge.dtype`; None if unknown."""
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
    """Estimate the peak memory from what the libraries hold at a time.

    A merge holds an output shard, and the largest tensor of its models in float32 several times. An
    evaluation holds the weights and the logits of one batch; vllm's weights are a lower
    bound.
    """
    vllm, on_gpu = config.evaluation.backend == "vllm", config.merge.options.on_gpu
    share = config.evaluation.gpu_share(merges_on_gpu=on_gpu) if vllm else None
    if child is None:
        return Memory(None, None, _KINSHIP, None, share, on_gpu)
    per_weight = BYTES.get(config.merge.dtype or "", 2)
    largest = max(model.largest or 0 for model in models) or child / per_weight * _LARGEST_SHARE
    tensors = 4 * largest * _tensors_of_merge(config)
    if isinstance(config.merge, RegmeanMerge):
        tensors = max(tensors, child / per_weight * _LARGEST_LAYER * 4 * _layers_of_merge(config))
    merge = _LIBRARIES + min(child, _shard(config.merge.options.shard_size)) + tensors
    rows = max(model.vocabulary or 0 for model in models) or 32_000
    batch = 0 if vllm else config.evaluation.fixed_batch_size or _BATCH
    logits = batch * (config.evaluation.max_length or _WINDOW) * rows * _LOGIT
    scored = child / per_weight * BYTES.get(config.evaluation.dtype, per_weight)
    kinship = min(_KINSHIP, _LIBRARIES + 8 * child)
    whole = [model.size for model in models if model.adapter is not None and model.size]
    # The base model, and a weight file that is being written.
    adapter = _LIBRARIES + 2 * max(whole) if whole else None
    return Memory(merge, _ENGINE + scored + logits, kinship, adapter, share, on_gpu)


def _tensors_of_merge(config: Config) -> int:
    """How many tensors, in float32, a merge holds at its peak.

    Two parents and the base, twice. `wudi`, from the code: every parent, its task vector, the same
    of norm 1, the right side and the solution; the base, its copy, a Gram matrix and its factor.
    """
    if isinstance(config.merge, RegmeanMerge):
        return 2 * most_parents(config) + 3
    if not isinstance(config.merge, WudiMerge):
        return 6
    return 5 * most_parents(config) + 4


def _layers_of_merge(config: Config) -> int:
    """How many layers, in float32, `regmean_pp` holds at its peak: an estimate.

    From the code: the layer of every model and of the child, the task vectors; the products of the
    inputs of the widest matrix, in part in float64, are about seven more.
    """
    return 2 * most_parents(config) + 9


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
    """The bounds of one generation; projections that ended earlier count as 0."""
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
        task_vectors=Range.over(
            each.disentangled * rates.task_vector.or_zero / 3600 for each in projections
        ),
        merges=Range.over(each.merges * rates.merge.or_zero / 3600 for each in projections),
        evaluations=Range.over(
            (each.evaluations * rates.evaluation.or_zero + each.end.work) / 3600
            for each in projections
        ),
        kinship=Range.over(each.read * rates.kinship.or_zero / 3600 for each in projections),
        wall=wall,
    )
