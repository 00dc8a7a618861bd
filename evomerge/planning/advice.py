"""What a config asks for that works, and that its user will hardly want."""

from __future__ import annotations

from collections.abc import Iterator

from evomerge.config import Config
from evomerge.domain.finding import Finding
from evomerge.domain.stopping import KinshipSaturation, NoImprovement, PoolUnchanged

_FEW_A_GENERATION = frozenset({"coefficient_search", "portfolio", "steady_state"})
_BY_GENERATIONS = PoolUnchanged | NoImprovement | KinshipSaturation


def advice(config: Config) -> Iterator[Finding]:
    """A warning for each such thing."""
    early = [each for each in config.stopping if isinstance(each, _BY_GENERATIONS)]
    if early and config.strategy.name in _FEW_A_GENERATION:
        names = " and ".join(name for each in early for name in each.model_dump())
        yield Finding(
            "warning",
            "stopping",
            f"{config.strategy.name} makes few children a generation, and {names} may end it after "
            "a handful: in the arena some 10 points below its end",
            "stop by `max_evaluations` alone",
        )
