"""Comparisons of runs on disk, and of their best models item by item."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evomerge.comparison.compared import Comparison, compare
from evomerge.comparison.members import Member, member_of, prices
from evomerge.configfile import identity_of, load_recorded
from evomerge.domain.difference import Gains
from evomerge.domain.errors import ConfigError, DamagedError, UsageError
from evomerge.domain.model import Model
from evomerge.domain.objective import ObjectiveName
from evomerge.domain.scores import Split
from evomerge.domain.state import Entry
from evomerge.gains import ItemResults, Matches, filters_of
from evomerge.gains import compare as compare_items
from evomerge.store.artefacts import Store
from evomerge.store.gc_roots import baseline_beside
from evomerge.store.run_directory import RunDirectory, list_runs


def comparison_of(
    runs: Sequence[RunDirectory], objective: ObjectiveName | None = None
) -> Comparison:
    """Compare runs on disk by `objective`, by default the objective of the first run.

    Raises:
        UsageError: there are fewer than two, or a run has no score yet.
        IncomparableError: their scores were measured with different settings.
    """
    if len({run.path for run in runs}) < 2:
        raise UsageError(
            "a comparison needs two runs or more", "list the runs with `evomerge list`"
        )
    journals = [run.read() for run in runs]
    for run, entries in zip(runs, journals, strict=True):
        if not any(entry.event.type == "model_scored" for entry in entries):
            raise UsageError(
                f"no model of {run.name} is scored yet", "wait for it, or leave it out"
            )
    known = prices(journals)

    def read() -> list[Member]:
        return [
            member_of(name, entries, _settings(run), known)
            for name, run, entries in zip(distinct(runs), runs, journals, strict=True)
        ]

    members = read()
    if any(member.course[-1].work is None for member in members):
        known = {**prices(_journals_beside(runs)), **known}
        members = read()
    if objective is not None:
        members[0] = members[0].judged_in(members[0].state.under(objective))
    return compare(members, baseline_beside(runs[0], members[0].state))


def _journals_beside(runs: Sequence[RunDirectory]) -> Iterator[list[Entry]]:
    """The readable journals of the other runs in the same folders, which may have done work."""
    for folder in dict.fromkeys(run.path.parent for run in runs):
        for run in list_runs(folder):
            if run.path not in {each.path for each in runs}:
                with contextlib.suppress(DamagedError, OSError):
                    yield run.read()


def distinct(runs: Sequence[RunDirectory]) -> list[str]:
    """The names of the runs, or their paths if names are not unique."""
    names = [run.name for run in runs]
    return [run.name if names.count(run.name) == 1 else str(run.path) for run in runs]


def _settings(run: RunDirectory) -> dict[str, Any]:
    """The settings of a run that can change a result; empty without a readable config."""
    try:
        return identity_of(load_recorded(run.config))
    except ConfigError:
        return {}


def winners(comparison: Comparison, runs: Mapping[str, RunDirectory]) -> Gains:
    """Paired tests of the best model of every arm's median run against that of the first arm.

    They use held-out items if all these models were scored on them, else selection items.

    Args:
        runs: run folders by the names of the comparison's members.

    Raises:
        DamagedError: a sample log is damaged.
    """
    first, *others = medians = [arm.median for arm in comparison.arms]
    scored = all(member.best.on("held_out") for member in medians)
    split: Split = "held_out" if scored else "selection"
    matches: list[tuple[Member, Member]] = [(other, first) for other in others]
    differing = [(a, b) for a, b in matches if a.best.content_id != b.best.content_id]
    missing = [f"{_named(a)} and {_named(b)} are the same model" for a, b in matches
               if (a, b) not in differing]  # fmt: skip
    if len({run.store for run in runs.values()}) > 1:
        apart = "the runs lie in different runs folders, so their items are not compared"
        return Gains(split=split, comparisons=(), missing=(*missing, apart))
    pairs: Matches = [(_labelled(a), _labelled(b), "model") for a, b in differing]
    run = runs[first.name]
    results = ItemResults(Store(run.store), filters_of(run), lambda model: model.on(split))
    gains = compare_items(results, pairs, split, first.state.objectives[split])
    return gains.model_copy(update={"missing": (*missing, *gains.missing)})


def _labelled(member: Member) -> Model:
    return replace(member.best, name=_named(member))


def _named(member: Member) -> str:
    """The label of a run's best model among the models of other runs."""
    return f"{member.best.name} of {member.name}"
