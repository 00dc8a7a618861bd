"""How long one merge and one evaluation take, and how that is known: given, measured, or stated."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evomerge.config import Config
from evomerge.domain.events import Event, HeldOutScored, ModelMerged, ModelScored
from evomerge.domain.scores import Split

Knowledge = Literal["given", "measured", "stated", "unknown"]

STATED_MERGE = 80 / 14.5e9
"""Seconds a byte of the child: mergekit, a 7B model from NVMe (5 GB/s read, 3 GB/s write)."""
STATED_EVALUATION = {"hf": 1500 / 14.5e9, "vllm": 180 / 14.5e9}
"""Seconds a byte: a 7B model on an H100, 2,000 to 3,500 items, one task of them generated."""
STATED_KINSHIP = 1 / 1e9
"""Seconds a byte read: float64 sums of a few models at once, two cores, warm page cache."""
STATED_DOWNLOAD = 1 / 100e6
"""Seconds a byte at 100 MB/s."""
SMALLEST = 500e6
"""Bytes of a child below which the start of the libraries takes longer than the work itself."""


@dataclass(frozen=True)
class Rate:
    """Seconds of one piece of work; None where nobody knows.

    Attributes:
        source: where the number comes from, for a reader.
    """

    seconds: float | None
    known: Knowledge
    source: str

    @property
    def or_nothing(self) -> float:
        """The seconds, 0 where they are not known."""
        return self.seconds or 0.0


@dataclass(frozen=True)
class Rates:
    """Of one merge, one evaluation, and one model read for kinship.

    Attributes:
        splits: of one evaluation on what the search never saw, where it was measured.
    """

    merge: Rate
    evaluation: Rate
    kinship: Rate
    splits: Mapping[Split, Rate] = field(default_factory=dict)

    def of_split(self, split: Split, config: Config) -> Rate:
        """Of one evaluation at the end of a run; by the number of items where nothing is known."""
        known = self.splits.get(split)
        if known is not None or self.evaluation.seconds is None:
            return known or self.evaluation
        text = "by its items" if split == "held_out" else "a task as long as one of the search's"
        seconds = self.evaluation.seconds * _share(split, config)
        return Rate(seconds, self.evaluation.known, f"{self.evaluation.source}, {text}")


def _share(split: Split, config: Config) -> float:
    """How much longer than an evaluation of the search one on `split` takes."""
    held_out = config.evaluation.split.held_out
    if split == "held_out":
        return held_out / (1 - held_out)
    return len(config.evaluation.final_tasks) / len(config.evaluation.tasks) / (1 - held_out)


@dataclass(frozen=True)
class Record:
    """An earlier run of the same runs folder: its config and what happened."""

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
    """What is known, the surest first: given, measured in an earlier run like this one, stated.

    Args:
        size: bytes of a child; None when it is not known.
        on_gpu: whether models are scored on a GPU; nothing is stated for other devices.
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
    return Rates(
        merge=merges or _stated(size, STATED_MERGE, "mergekit from NVMe, by size"),
        evaluation=evaluations
        or (
            _stated(size, STATED_EVALUATION[backend], f"an H100 with {backend}, by size")
            if on_gpu
            else Rate(None, "unknown", "not on a GPU: give --hours-per-evaluation")
        ),
        kinship=_stated(size, STATED_KINSHIP, "1 GB/s"),
        splits={}
        if hours_per_evaluation is not None
        else {split: rate for split, rate in splits.items() if rate is not None},
    )


def _of_split(events: Sequence[Event], split: Split) -> list[Event]:
    return [each for each in events if isinstance(each, HeldOutScored) and each.split == split]


def _stated(size: int | None, per_byte: float, source: str) -> Rate:
    if size is None:
        return Rate(None, "unknown", "the size of a model is not known")
    if size < SMALLEST:
        return Rate(None, "unknown", "no earlier run, and too small for an estimate")
    return Rate(size * per_byte, "stated", source)


def _measured(
    runs: Iterable[tuple[str, Sequence[Event], type[ModelMerged | ModelScored | HeldOutScored]]],
) -> Rate | None:
    """The mean over the work that was really done, what was reused left out."""
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
