"""Warnings about valid configs that are probably not what the user wants."""

from __future__ import annotations

from collections.abc import Iterator

from evomerge.config import Config
from evomerge.domain.finding import Finding
from evomerge.domain.model import disentangling
from evomerge.stopping import KinshipSaturation, NoImprovement, PoolUnchanged

_FEW = 2
"""With so few children per generation, criteria that count generations stop too early."""
_FEW_REQUESTS = 64
"""With smaller batches, vllm uses only a part of a GPU."""
_BY_GENERATIONS = PoolUnchanged | NoImprovement | KinshipSaturation


def advice(config: Config) -> Iterator[Finding]:
    """The warnings about a config."""
    batch = config.evaluation.fixed_batch_size or _FEW_REQUESTS
    if config.evaluation.backend == "vllm" and batch < _FEW_REQUESTS:
        yield Finding(
            "warning",
            "batch size",
            f"vllm gets only {batch} requests at a time, which it could batch itself",
            "set `evaluation.batch_size: 512`",
        )
    of_all = all(kind.of_all for kind in config.strategy.kinds)
    if of_all and disentangling(config.merge.method) is None:
        yield Finding(
            "warning",
            "merge method",
            f"{config.strategy.name} merges all foundation models at once, and whole task vectors "
            "overwrite each other's skills",
            "set `merge.method: wudi`, or regmean_pp: in the arena 25 and 35 points above",
        )
    early = [each for each in config.stopping if isinstance(each, _BY_GENERATIONS)]
    if early and config.strategy.most_children(len(config.foundation_models)) <= _FEW:
        names = " and ".join(each.name for each in early)
        yield Finding(
            "warning",
            "stopping",
            f"{config.strategy.name} makes few children per generation, so {names} may stop the "
            "run after a handful: in the arena about 10 points below its final score",
            "stop by `max_evaluations` alone",
        )
