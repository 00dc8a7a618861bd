"""Durations of merges, evaluations and kinship: given, measured in earlier runs, or estimated."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evomerge.config import Config, RegmeanMerge, WudiMerge
from evomerge.domain.events import Event, HeldOutScored, ModelMerged, ModelScored
from evomerge.domain.scores import Split
from evomerge.planning.models import BYTES

Knowledge = Literal["given", "measured", "stated", "unknown"]

STATED_MERGE = 80 / 14.5e9
"""Seconds per byte of the child: mergekit, a 7B model on NVMe (5 GB/s read, 3 GB/s write)."""
STATED_WUDI = {"cpu": 1900 / 14.5e9, "gpu": 5 / 14.5e9}
"""Further seconds per byte and parent of a merge by `wudi`, for one CPU thread (measured for the
shapes of a 7B model's layers) or an H100 (from the number of operations, not measured)."""
STATED_DISENTANGLING = {"cpu": 3500 / 14.5e9, "gpu": 8 / 14.5e9}
"""Seconds per byte and parent of all task vectors of a set: the same with n right sides for one."""
STATED_REGMEAN = {"cpu": 25e9, "gpu": 20e12}
"""Operations per second of `regmean_pp`, for one CPU thread or an H100 (not measured)."""
OPERATIONS_A_TOKEN = 15
"""Of `regmean_pp`, for each weight of a model: the passages through the layers and the products of
their inputs."""
TOKENS_OF_AN_ITEM = 150
TOKENS_OF_AN_ANCHOR = 800
STATED_EVALUATION = {"hf": 1500 / 14.5e9, "vllm": 140 / 14.5e9}
"""Seconds per byte: a 7B model on an H100, 2,000 to 3,500 items, one generative task; for vllm
without the start of an engine (45 s), which is reused for most models."""
STATED_GUARD = 0.5 / 14.5e9
"""Further seconds per byte of `evaluation.guard`: nine passages of about 500 tokens, each alone."""
STATED_KINSHIP = 1 / 1e9
"""Seconds per byte read: float64 sums of a few models at once, two cores, warm page cache."""
STATED_DOWNLOAD = 1 / 100e6
"""Seconds per byte at 100 MB/s."""
SMALLEST = 500e6
"""Bytes of a child below which the startup of libraries dominates, so there is no estimate."""


@dataclass(frozen=True)
class Rate:
    """Seconds of one operation; None if unknown.

    Attributes:
        source: origin of the number, for reports.
    """

    seconds: float | None
    known: Knowledge
    source: str

    @property
    def or_zero(self) -> float:
        """The seconds, 0 if unknown."""
        return self.seconds or 0.0


_IN_THE_MERGES = Rate(0.0, "measured", "within the merges")


@dataclass(frozen=True)
class Rates:
    """Durations of one merge, one evaluation, and reading one model for kinship.

    Attributes:
        task_vector: of disentangling the task vector of one parent, for merges that sum them.
        splits: of one evaluation on held-out splits, if measured.
    """

    merge: Rate
    evaluation: Rate
    kinship: Rate
    task_vector: Rate = _IN_THE_MERGES
    splits: Mapping[Split, Rate] = field(default_factory=dict)

    def of_split(self, split: Split, config: Config) -> Rate:
        """The duration of one evaluation on a held-out split; if unknown, by number of items."""
        known = self.splits.get(split)
        if known is not None or self.evaluation.seconds is None:
            return known or self.evaluation
        text = "by its items" if split == "held_out" else "per task as for selection"
        seconds = self.evaluation.seconds * _share(split, config)
        return Rate(seconds, self.evaluation.known, f"{self.evaluation.source}, {text}")


def _share(split: Split, config: Config) -> float:
    """The duration of an evaluation on `split` relative to the selection split."""
    held_out = config.evaluation.split.held_out
    if split == "held_out":
        return held_out / (1 - held_out)
    return len(config.evaluation.final_tasks) / len(config.evaluation.tasks) / (1 - held_out)


@dataclass(frozen=True)
class Record:
    """An earlier run in the same runs folder."""

    name: str
    config: Config
    events: Sequence[Event]


def known_rates(
    config: Config,
    size: int | None,
    records: Iterable[Record],
    *,
    hours_per_evaluation: float | None = None,
    on_gpu: bool = True,
) -> Rates:
    """The durations from the best source: given, measured in similar earlier runs, or estimated.

    Args:
        size: bytes of a child; None if unknown.
        records: earlier runs.
        hours_per_evaluation: a given duration.
        on_gpu: whether models are scored on a GPU; there are no estimates for other devices.
    """
    alike = [each for each in records if _same_base(each.config, config)]
    merges = _measured(
        (each.name, each.events, ModelMerged) for each in alike if each.config.merge == config.merge
    )
    scored = [each for each in alike if each.config.evaluation == config.evaluation]
    evaluations = _measured((each.name, each.events, ModelScored) for each in scored)
    splits = {
        split: _measured(
            (each.name, _of_split(each.events, split), HeldOutScored) for each in scored
        )
        for split in config.evaluation.held_out_splits
    }
    if hours_per_evaluation is not None:
        evaluations = Rate(hours_per_evaluation * 3600, "given", "--hours-per-evaluation")
    backend = config.evaluation.backend
    if not on_gpu:
        stated = Rate(None, "unknown", "not on a GPU: give --hours-per-evaluation")
    elif backend not in STATED_EVALUATION:
        stated = Rate(None, "unknown", f"no estimate for {backend}: give --hours-per-evaluation")
    else:
        guard = STATED_GUARD if config.evaluation.guard else 0.0
        per_byte = STATED_EVALUATION[backend] + guard
        stated = _stated(size, per_byte, f"an H100 with {backend}, by size")
    return Rates(
        merge=merges or _stated_merge(config, size),
        task_vector=_stated_task_vector(config, size) if merges is None else _IN_THE_MERGES,
        evaluation=evaluations or stated,
        kinship=_stated(size, STATED_KINSHIP, "1 GB/s"),
        splits={}
        if hours_per_evaluation is not None
        else {split: rate for split, rate in splits.items() if rate is not None},
    )


def _stated_merge(config: Config, size: int | None) -> Rate:
    """Of a merge of two, where the merge method solves for them, or of a sum."""
    source = "mergekit from NVMe"
    if not isinstance(config.merge, WudiMerge) or all(
        kind.of_all for kind in config.strategy.kinds
    ):
        return _stated(size, STATED_MERGE, f"{source}, by size")
    solving, where = _solving(config.merge, STATED_WUDI)
    return _stated(size, STATED_MERGE + 2 * solving, f"{source}, wudi on {where}, by size")


def _stated_task_vector(config: Config, size: int | None) -> Rate:
    if isinstance(config.merge, RegmeanMerge):
        return _stated_regression(config, config.merge, size)
    if not isinstance(config.merge, WudiMerge):
        return _IN_THE_MERGES
    solving, where = _solving(config.merge, STATED_DISENTANGLING)
    return _stated(size, STATED_MERGE + solving, f"wudi on {where}, by size")


def _stated_regression(config: Config, merge: RegmeanMerge, size: int | None) -> Rate:
    """Of one of a set that is made together, whose duration depends on the items that are seen."""
    on_gpu, threads = merge.options.on_gpu, merge.options.threads
    items = config.evaluation.split.calibration * len(config.evaluation.tasks)
    tokens = items * TOKENS_OF_AN_ITEM + TOKENS_OF_AN_ANCHOR
    speed = STATED_REGMEAN["gpu"] if on_gpu else STATED_REGMEAN["cpu"] * threads
    weights_per_byte = 1 / BYTES.get(merge.dtype or "", 2)
    regression = weights_per_byte * OPERATIONS_A_TOKEN * tokens / speed / most_parents(config)
    where = "an H100" if on_gpu else f"{threads} CPU threads"
    source = f"regmean_pp on {where}, by size, with {TOKENS_OF_AN_ITEM} tokens an item"
    return _stated(size, STATED_MERGE + regression, source)


def _solving(merge: WudiMerge, stated: Mapping[str, float]) -> tuple[float, str]:
    """Seconds per byte and parent on the config's device, and what that is."""
    if merge.options.on_gpu:
        return stated["gpu"], "an H100"
    threads = merge.options.threads
    return stated["cpu"] / threads, f"{threads} CPU threads"


def most_parents(config: Config) -> int:
    """Parents of the largest merges: two, or all foundation models."""
    of_all = any(kind.of_all for kind in config.strategy.kinds)
    return len(config.foundation_models) if of_all else 2


def _of_split(events: Sequence[Event], split: Split) -> list[Event]:
    return [each for each in events if isinstance(each, HeldOutScored) and each.split == split]


def _stated(size: int | None, per_byte: float, source: str) -> Rate:
    if size is None:
        return Rate(None, "unknown", "the size of a model is unknown")
    if size < SMALLEST:
        return Rate(None, "unknown", "no earlier run, and too small for an estimate")
    return Rate(size * per_byte, "stated", source)


def _measured(
    runs: Iterable[tuple[str, Sequence[Event], type[ModelMerged | ModelScored | HeldOutScored]]],
) -> Rate | None:
    """The mean over all such events of the runs, without reused results; None if there are none."""
    seconds: list[float] = []
    names = []
    for name, events, kind in runs:
        found = [e.seconds for e in events if isinstance(e, kind) and not e.reused]
        seconds += found
        names += [name] if found else []
    if not seconds:
        return None
    return Rate(statistics.fmean(seconds), "measured", f"{len(seconds)} in {', '.join(names)}")


def _same_base(one: Config, other: Config) -> bool:
    return one.base_model.source == other.base_model.source
