"""What a config asks for that works, and that its user will hardly want."""

from __future__ import annotations

from collections.abc import Iterator

from evomerge.config import Config
from evomerge.domain.finding import Finding
from evomerge.stopping import KinshipSaturation, NoImprovement, PoolUnchanged

_FEW = 2
"""Children a generation by which a criterion that counts generations ends a run early."""
_BY_GENERATIONS = PoolUnchanged | NoImprovement | KinshipSaturation


def advice(config: Config) -> Iterator[Finding]:
    """A warning for each such thing."""
    early = [each for each in config.stopping if isinstance(each, _BY_GENERATIONS)]
    if early and config.strategy.most_children(len(config.foundation_models)) <= _FEW:
        names = " and ".join(each.name for each in early)
        yield Finding(
            "warning",
            "stopping",
            f"{config.strategy.name} makes few children a generation, and {names} may end it after "
            "a handful: in the arena some 10 points below its end",
            "stop by `max_evaluations` alone",
        )
