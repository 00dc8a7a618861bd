"""Significance tests between the best models of arms, from their stored sample logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evomerge.comparison.compared import Comparison
from evomerge.comparison.members import Member
from evomerge.domain.difference import Gains
from evomerge.domain.model import Model
from evomerge.domain.scores import Split
from evomerge.gains import ItemResults, Matches, filters_of
from evomerge.gains import compare as compare_items
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import RunDirectory


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
