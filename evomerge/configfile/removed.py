"""Settings that earlier versions had and this one has not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evomerge.configfile.document import Document, Fault


@dataclass(frozen=True)
class Removed:
    """A key of the config that is gone, or some of its values.

    Attributes:
        key: dotted, as `evaluation.racing`.
        asks: whether a value asks for what is gone. Other values had no effect on a run; they stand
            in the configs that earlier versions wrote out, and are passed over.
        since: the version that took it out, and why, as the end of a sentence.
        remedy: what to write instead.
        key_stays: the key is still there, only the values that ask for it are gone.
    """

    key: str
    asks: Callable[[Any], bool]
    since: str
    remedy: str
    key_stays: bool = False


def _races(value: Any) -> bool:
    error = value.get("error") if isinstance(value, dict) else value
    return error not in (None, "none", 0)


_ES = (
    "the evolution strategies es and cma were taken out in 0.1.0: bayes is ahead of them at every "
    "mark of the arena"
)
TAKEN_OUT = (
    Removed(
        "evaluation.racing",
        _races,
        "taken out in 0.1.0: it saved 8 % of the items of one config, and the strategies that we "
        "recommend refused it",
        "remove it: every child is scored on all items",
    ),
    Removed(
        "strategy.search.algorithm",
        lambda value: value in ("es", "cma"),
        _ES,
        "take bayes, the default, or random, its baseline",
        key_stays=True,
    ),
    Removed(
        "strategy.name",
        lambda value: value in ("portfolio", "complementary"),
        "the strategies portfolio and complementary were taken out in 0.1.0: in the arena they end "
        "where coefficient_search and kinship do",
        "take coefficient_search for the best model, kinship for merges of pairs",
        key_stays=True,
    ),
    Removed(
        "strategy.exploration.additive",
        lambda value: value not in ([], None),
        "taken out in 0.1.0: coefficient_search finds better sums of task vectors",
        "remove it",
    ),
    Removed("strategy.search.step", lambda value: value != 0.2, _ES, "remove it"),
    Removed(
        "strategy.exploration.prefer",
        lambda value: value == "random",
        "taken out in 0.1.0: a partner drawn at random is what the strategy random is for",
        "write `name: random`",
        key_stays=True,
    ),
)


def drop_removed(document: Document) -> list[Fault]:
    """Remove from `document` what is taken out; a fault for each setting that asks for it."""
    faults = []
    for setting in TAKEN_OUT:
        *above, last = path = tuple(setting.key.split("."))
        try:
            section = document.value(tuple(above))
            value = section[last]
        except (LookupError, TypeError):
            continue
        asks = setting.asks(value)
        if asks:
            place = document.place(path)
            faults.append(Fault(place, path, setting.since, setting.remedy))
        if asks or not setting.key_stays:
            del section[last]
    return faults
