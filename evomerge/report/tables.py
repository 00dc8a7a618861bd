"""The headline of a run's report, and its table of all models."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from evomerge.analysis.merges import parents_kinship
from evomerge.domain.baseline import Baseline
from evomerge.domain.lineage import merge_gain
from evomerge.domain.model import Model
from evomerge.domain.scores import TaskScore
from evomerge.domain.skills import skills_of
from evomerge.report.subject import Z95, Subject
from evomerge.report.wording import points
from evomerge.terminal import figures
from evomerge.terminal.baseline import grid_text
from evomerge.terminal.skills import kept_in_short, lost_list


@dataclass(frozen=True)
class Cell:
    """A table cell: text, sort key and tooltip."""

    text: str
    sort: str | float = ""
    style: str = ""
    tip: str = ""


@dataclass(frozen=True)
class Fact:
    """One number of the headline."""

    label: str
    value: str
    detail: str = ""
    style: str = ""


def headline(subject: Subject) -> list[Fact]:
    """The best model, its gain, its cost, and reused work."""
    state, work = subject.state, subject.work
    best = state.best
    if best is None:
        return [Fact("best model", "none yet", "no model is scored so far")]
    foundation = next((model for model in state.ranking if model.generation == 0), None)
    facts = [
        Fact("best model", best.name, figures.parents(best.parents) or "a foundation model"),
        Fact("score", points(best.score, _half(best)), _score_detail(best)),
    ]
    if foundation is not None and foundation is not best:
        gain = (best.score or 0.0) - (foundation.score or 0.0)
        facts.append(
            Fact(
                "gain over the best foundation model",
                minus_sign(figures.gain(gain)),
                f"{foundation.name} has {points(foundation.score, _half(foundation))}",
                "up" if gain > 0 else "down",
            )
        )
    if (skills := skills_of(state)) is not None:
        kept = f"{skills.kept} of {len(skills.tasks)}"
        facts.append(
            Fact("skills kept", kept, f"lost: {lost_list(skills)}; {kept_in_short(skills)}")
        )
    if subject.baseline is not None:
        facts.append(_against(subject.baseline, best))
    failed = state.models.failures
    cost = f"{figures.count(state.evaluations, 'evaluation')}" + (
        f", {failed} failed" if failed else ""
    )
    facts.append(Fact("cost", figures.count(state.merges, "merge"), cost))
    if subject.recorded is None:
        spent = (
            f"merging {figures.duration(work.merge)}, scoring {figures.duration(work.score)}, "
            f"kinship {figures.duration(work.kinship)}"
        ) + (f", held-out evaluation {figures.duration(work.held_out)}" if work.held_out else "")
        facts.append(Fact("time", figures.duration(state.seconds), spent))
        reused = work.merges_reused + work.scores_reused
        detail = (
            f"{figures.count(work.merges_reused, 'merge')} and "
            f"{figures.count(work.scores_reused, 'evaluation')} came from the store"
            if reused
            else "nothing was reused from the store"
        )
        facts.append(Fact("reused", str(reused), detail))
    return facts


def _against(baseline: Baseline, best: Model) -> Fact:
    """The gain of the search over merging all foundation models at once."""
    gain = (best.score or 0.0) - (baseline.best.score or 0.0)
    return Fact(
        "gain over all at once",
        minus_sign(figures.gain(gain)),
        grid_text(baseline),
        "up" if gain > 0 else "down" if gain < 0 else "",
    )


def _score_detail(model: Model) -> str:
    held_out = model.estimate("held_out")
    also = "" if held_out is None else f"; {held_out.value:.2f} on held-out items"
    if model.scores is None or model.stderr is None:
        return f"no standard error recorded{also}"
    tasks = figures.count(len(model.scores.tasks), "task")
    return f"95 % interval over {tasks}{also}"


def _half(model: Model) -> float | None:
    error = model.stderr
    return None if error is None else Z95 * error


def minus_sign(text: str) -> str:
    """`text` with a typographic minus sign."""
    return text.replace("-", "−")


def models_table(subject: Subject) -> dict[str, Any]:
    """All models, best first: headers (text, whether numeric) and rows of cells."""
    state = subject.state
    tasks = task_names(subject)
    numbers = {name: index for index, name in enumerate(state.models)}
    ranks = {model.name: place for place, model in enumerate(state.ranking, start=1)}
    models = sorted(
        state.models.values(), key=lambda m: (ranks.get(m.name, math.inf), numbers[m.name])
    )
    timed = subject.recorded is None
    heads = [
        ("model", False), ("#", True), ("kind", False), ("gen", True), ("score", True),
        ("gain", True), ("kinship", True), *((task, True) for task in tasks), ("parents", False),
        *([("time", True)] if timed else []), ("why", False),
    ]  # fmt: skip
    rows = [
        {
            "id": f"m{numbers[model.name]}",
            "style": "failed" if model.failure else "best" if model is state.best else "",
            "cells": _cells(model, subject, ranks.get(model.name), tasks, timed),
        }
        for model in models
    ]
    return {"heads": heads, "rows": rows}


def task_names(subject: Subject) -> list[str]:
    """The tasks in the order of the config; empty if a single task is the score."""
    scored = next((model.scores for model in subject.state.ranking if model.scores), None)
    names = [] if scored is None else [task.task for task in scored.tasks]
    return names if len(names) > 1 else []


def _cells(
    model: Model, subject: Subject, place: int | None, tasks: list[str], timed: bool
) -> list[Cell]:
    state, metric = subject.state, subject.state.start.metric
    gain = merge_gain(model, state.models)
    kinship = parents_kinship(model, state).get(metric) if model.parents else None
    by_task = {} if model.scores is None else {task.task: task for task in model.scores.tasks}
    assumed = subject.recorded is not None and model.name in subject.recorded.assumed_parents
    scores = [_task(by_task.get(task)) for task in tasks]
    parents = figures.parents(model.parents) + (" (assumed)" if assumed else "")
    return [
        Cell(model.name),
        Cell("" if place is None else str(place)),
        Cell(model.kind),
        Cell(str(model.generation)),
        Cell(*_score(model)),
        _signed(gain),
        Cell(
            "" if kinship is None else minus_sign(figures.kinship(kinship, metric)), _sort(kinship)
        ),
        *scores,
        Cell(parents),
        *([Cell(*_time(model, subject))] if timed else []),
        Cell(_why(model)),
    ]


def _task(task: TaskScore | None) -> Cell:
    if task is None:
        return Cell("")
    error = "no standard error" if task.stderr is None else f"± {task.stderr:.2f}"
    items = figures.count(task.samples, "item")
    return Cell(figures.task_points(task), task.value, tip=f"{task.metric} {error}, {items}")


def _signed(gain: float | None) -> Cell:
    if gain is None:
        return Cell("")
    style = "" if abs(gain) < 0.005 else "up" if gain > 0 else "down"
    return Cell(minus_sign(figures.gain(gain)), gain, style)


def _sort(value: float | None) -> float | str:
    return "" if value is None else value


def _score(model: Model) -> tuple[str, str | float, str]:
    if model.failure is not None:
        return "failed", "", "down"
    if model.score is None:
        return "…", "", ""
    return figures.score(model), model.score, ""


def _time(model: Model, subject: Subject) -> tuple[str, str | float]:
    done = subject.work.models.get(model.name)
    if done is None:
        return "", ""
    parts = [(done.merge, done.merge_reused), (done.score, done.score_reused)]
    seconds = sum(value for value, reused in parts if value is not None and not reused)
    if all(reused for value, reused in parts if value is not None):
        return "reused", 0.0
    return figures.duration(seconds), seconds


def _why(model: Model) -> str:
    if model.failure is not None:
        return f"{model.failure.stage} failed: {model.failure.reason}"
    return model.candidate.proposal.reason if model.candidate is not None else "given"


def recipe_text(subject: Subject) -> str:
    """The recipe of the best model as YAML, with names instead of content ids."""
    best = subject.state.best
    if best is None or best.candidate is None:
        return ""
    names = {model.content_id: model.name for model in subject.state.models.values()}
    base = subject.state.start.base
    names[base.content_id] = base.name
    recipe = best.candidate.recipe.model_dump(mode="json", exclude_defaults=True)
    recipe["base"] = names.get(recipe["base"], recipe["base"])
    for parent in recipe["parents"]:
        parent["model"] = names.get(parent["model"], parent["model"])
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=90)


def commands(subject: Subject) -> dict[str, str]:
    """Shell commands for using and recreating the best model."""
    run, best = subject.name, subject.state.best
    name = "MODEL" if best is None else best.name
    return {
        "path": f"models/{name}",
        "rebuild": shlex.join(["evomerge", "rebuild", run, name]),
        "resume": shlex.join(["evomerge", "resume", run]),
        "show": shlex.join(["evomerge", "show", run, name]),
    }
