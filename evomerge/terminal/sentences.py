"""Events as sentences, for the plain lines and for the recent events of the live view."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import singledispatch

from rich.cells import cell_len

from evomerge.domain.events import (
    CandidateFailed,
    Event,
    GainsTested,
    GenerationFinished,
    GenerationProposed,
    HeldOutFailed,
    HeldOutScored,
    KinshipMeasured,
    MergesSkipped,
    ModelMerged,
    ModelScored,
    RunFinished,
    RunResumed,
    RunStarted,
)
from evomerge.domain.lineage import merge_gain
from evomerge.domain.model import Candidate, Model
from evomerge.domain.scores import Split
from evomerge.domain.skills import lost_skills
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.budget import budget_text
from evomerge.terminal.differences import gains_line
from evomerge.terminal.figures import printable
from evomerge.terminal.skills import lost_by_pool
from evomerge.views.outcome import best_over_foundation

SPLITS: dict[Split, str] = {
    "selection": "selection",
    "held_out": "held-out",
    "final": "final tasks",
}
"""Titles of the splits."""


@dataclass(frozen=True)
class Sentence:
    """One line about an event.

    Attributes:
        where: `run`, or the generation.
        model: name of the model concerned; empty if the event concerns no single model.
        style: rich style of the verb, or empty.
    """

    where: str
    verb: str
    model: str
    detail: str
    style: str = ""


def sentences(event: Event, state: RunState) -> list[Sentence]:
    """Sentences for `event`, the main one first; `state` is the state after the event.

    A proposed generation yields one more sentence per merge, skipped merges too if there are
    several, and a score one more per new kind of warning and if the guard keeps the model out; all
    other events yield one.
    """
    return _said(event, state)


@singledispatch
def _said(event: object, state: RunState) -> list[Sentence]:
    raise TypeError(f"no sentence for {type(event).__name__}")


@_said.register
def _(event: RunStarted, state: RunState) -> list[Sentence]:
    detail = (
        f"{event.strategy} strategy, k {event.k}, kinship {event.metric.value}, "
        f"seed {event.seed}, {figures.count(len(event.foundation), 'foundation model')}, "
        f"base {event.base.name}"
    )
    detail += "" if event.objective == "mean" else f", objective {event.objective}"
    return [Sentence("run", "started", event.name, detail)]


@_said.register
def _(event: RunResumed, state: RunState) -> list[Sentence]:
    detail = (
        f"{figures.count(state.evaluations, 'model')} scored so far, "
        f"{len(state.unscored)} open in generation {len(state.generations) - 1}"
    )
    if event.extends:
        detail += f"; extended: {budget_text(state)}"
    if event.drift:
        detail += f"; changes accepted: {printable('; '.join(event.drift))}"
    return [Sentence("run", "resumed", state.start.name, detail)]


@_said.register
def _(event: GenerationProposed, state: RunState) -> list[Sentence]:
    where = _generation(event.generation)
    kinds = Counter(candidate.proposal.kind for candidate in event.candidates)
    gist = figures.count(len(event.candidates), "merge")
    if set(kinds) - {"greedy"}:
        gist += f" ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})"
    names = [printable(figures.parents(c.proposal.parents)) for c in event.candidates]
    width = max(map(cell_len, names), default=0)
    merges = [
        _proposed(candidate, where, parents + " " * (width - cell_len(parents)), state)
        for candidate, parents in zip(event.candidates, names, strict=True)
    ]
    return [Sentence(where, "proposed", "", gist), *merges]


def _proposed(candidate: Candidate, where: str, parents: str, state: RunState) -> Sentence:
    proposal = candidate.proposal
    kin = figures.kinship(proposal.kinship, state.start.metric)
    detail = f"{parents}  kinship {kin:>5}  ({printable(proposal.reason)})"
    return Sentence(where, "merge", candidate.name, detail)


@_said.register
def _(event: MergesSkipped, state: RunState) -> list[Sentence]:
    where = _generation(len(state.generations))
    merges = [
        Sentence(where, "skipped", "", printable(merge.reason), "yellow") for merge in event.merges
    ]
    if len(merges) == 1:
        return merges
    limit = f"kinship above {event.merges[0].above:g}, other pairs take their places"
    gist = f"{figures.count(len(merges), 'merge')} ({limit})"
    return [Sentence(where, "skipped", "", gist, "yellow"), *merges]


@_said.register
def _(event: ModelMerged, state: RunState) -> list[Sentence]:
    return [_about(event.model, state, "merged", _cost(event))]


@_said.register
def _(event: ModelScored, state: RunState) -> list[Sentence]:
    model = state.models[event.model]
    parts = [figures.score(model)]
    gain = merge_gain(model, state.models)
    if gain is not None:
        parts.append(f"over parents {figures.gain(gain)}")
    if model.perplexity is not None:
        parts.append(f"perplexity {figures.perplexity(model)}")
    if len(event.scores.tasks) > 1:
        tasks = (f"{task.task} {figures.task_points(task)}" for task in event.scores.tasks)
        parts.append(f"({', '.join(tasks)})")
    parts.append(_cost(event))
    if model.generation and state.best is model:
        parts.append("best so far")
    kept_out = [] if model.kept_out is None else [printable(model.kept_out)]
    return [
        _about(event.model, state, "scored", "  ".join(parts), "green"),
        *(_about(event.model, state, "kept out", why, "yellow") for why in kept_out),
        *_new_warnings(model, state),
    ]


@_said.register
def _(event: HeldOutScored, state: RunState) -> list[Sentence]:
    model = state.models[event.model]
    parts = [f"{SPLITS[event.split]} {figures.score(model, event.split)}"]
    if event.split == "held_out":
        parts.append(f"gap {figures.gain(model.selection_gap)}")
    parts.append(_cost(event))
    detail = "  ".join(parts)
    return [
        Sentence("end", "scored", event.model, detail, "green"),
        *(replace(each, where="end") for each in _new_warnings(model, state)),
    ]


@_said.register
def _(event: HeldOutFailed, state: RunState) -> list[Sentence]:
    attempts = figures.count(event.failure.attempts, "attempt")
    reason = printable(event.failure.reason)
    detail = f"{SPLITS[event.split]} not scored after {attempts}: {reason}"
    return [Sentence("end", "FAILED", event.model, detail, "red")]


@_said.register
def _(event: CandidateFailed, state: RunState) -> list[Sentence]:
    failure = event.failure
    attempts = figures.count(failure.attempts, "attempt")
    detail = f"{failure.stage} failed after {attempts}: {printable(failure.reason)}"
    return [_about(event.model, state, "FAILED", detail, "red")]


@_said.register
def _(event: KinshipMeasured, state: RunState) -> list[Sentence]:
    metric = state.start.metric
    values = [value for r in event.readings if (value := r.value(metric)) is not None]
    detail = figures.count(len(event.readings), "pair")
    if len(event.readings) == 1:
        detail = figures.parents(event.readings[0].models)
    if values:
        spread = dict.fromkeys(figures.kinship(v, metric) for v in (min(values), max(values)))
        detail += f"  {metric.value} {' to '.join(spread)}"
    undefined = len(event.readings) - len(values)
    if undefined:
        detail += f"  {undefined} undefined"
    detail += f"  {_cost(event)}"
    return [Sentence(_generation(len(state.generations) - 1), "kinship", "", detail)]


@_said.register
def _(event: GenerationFinished, state: RunState) -> list[Sentence]:
    best = state.best
    parts = [f"pool {', '.join(event.pool)}"]
    if best is not None:
        parts.append(f"best {best.name} {figures.score(best)}")
    mean = state.kinship.mean(event.pool)
    if mean is not None:
        parts.append(f"mean kinship {figures.kinship(mean, state.start.metric)}")
    if lost := lost_skills(state):
        parts.append(lost_by_pool(lost))
    if event.stop is not None:
        parts.append(f"stop: {event.stop}")
    return [Sentence(_generation(event.generation), "done", "", printable("; ".join(parts)))]


@_said.register
def _(event: GainsTested, state: RunState) -> list[Sentence]:
    return [Sentence("run", "tested", "", gains_line(event.gains))]


@_said.register
def _(event: RunFinished, state: RunState) -> list[Sentence]:
    detail = figures.score(state.models[event.best])
    over = best_over_foundation(state)
    if over is not None:
        detail += f"  {figures.gain(over[1])} over {over[0].name}"
    return [Sentence("run", "finished", event.best, f"{detail}  stop: {event.stop}", "green")]


def _new_warnings(model: Model, state: RunState) -> list[Sentence]:
    return [
        _about(model.name, state, "warning", printable(each.sentence), "yellow")
        for each in model.warnings
        if state.models.warned[each.kind, each.task] == 1
    ]


def _about(name: str, state: RunState, verb: str, detail: str, style: str = "") -> Sentence:
    where = _generation(state.models[name].generation)
    return Sentence(where, verb, name, detail, style)


def _generation(number: int) -> str:
    return f"gen {number}"


def _cost(event: ModelMerged | ModelScored | HeldOutScored | KinshipMeasured) -> str:
    took = "reused" if event.reused else figures.duration(event.seconds)
    return f"{took} on {printable(event.host)}" if event.host else took
