"""The results of one set of specialists as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rules import Rule, children
from skills import SKILLS, task_name

from evomerge.domain.model import Model
from evomerge.domain.scores import Scores
from evomerge.domain.state import RunState

KEPT = 0.8
"""Share of the specialist's score from which a skill is kept."""

TEXTS = ("fiction", "docstrings", "licence")


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        start: the base model and the specialists, by name.
        states: the finished runs, by the name of their rule.
        held_out: scores on the held-out items by content id, of `start` and of the best children.
        perplexities: by content id and text, of all models.
    """

    start: Mapping[str, Model]
    rules: Mapping[str, Rule]
    states: Mapping[str, RunState]
    held_out: Mapping[str, Scores]
    perplexities: Mapping[str, Mapping[str, float]]

    def markdown(self) -> str:
        """The two tables."""
        return "\n".join([*self._winners(), "", *self._points()]) + "\n"

    def _own(self, skill: str) -> float:
        """A specialist's score on the held-out items of its own task."""
        return _values(self._scores(self.start[skill], held_out=True))[skill]

    def _scores(self, model: Model, *, held_out: bool) -> Scores:
        scores = self.held_out[model.content_id] if held_out else model.scores
        if scores is None:
            raise ValueError(f"{model.name} was not scored")
        return scores

    def _winners(self) -> Iterator[str]:
        yield "| model | merges | mean | of the specialists | weakest | kept | each skill | " + (
            " | ".join(TEXTS) + " |"
        )
        yield "| --- | --: | --: | --: | --: | --: | --- | --: | --: | --: |"
        ceiling = fmean(self._own(skill) for skill in SKILLS)
        for name, model in self.start.items():
            values = _values(self._scores(model, held_out=True))
            shown = f"{fmean(values.values()):.1f}"
            yield _row([name, "", shown, "", "", "", _each(values), *self._language(model)])
        yield _row(["specialists, each on its own task", "", f"{ceiling:.1f}", "100 %"], 10)
        for name, state in self.states.items():
            if self.rules[name].of_pairs:
                continue
            model = best(state)
            scores = self._scores(model, held_out=True)
            values = _values(scores)
            kept = sum(value >= KEPT * self._own(skill) for skill, value in values.items())
            mean = fmean(values.values())
            yield _row([
                f"**{name}**: {_point(model)}",
                str(len(list(children(state)))),
                f"{mean:.1f} ± {_stderr(scores):.1f}",
                f"{100 * mean / ceiling:.0f} %",
                f"{min(values.values()):.0f}",
                f"{kept} of {len(SKILLS)}",
                _each(values),
                *self._language(model),
            ])  # fmt: skip

    def _points(self) -> Iterator[str]:
        yield "| rule | merge | mean of its parents' skills | of the parents | each skill | " + (
            " | ".join(TEXTS) + " |"
        )
        yield "| --- | --- | --: | --: | --- | --: | --: | --: |"
        for name, state in self.states.items():
            shares = []
            for model in children(state):
                values = _values(self._scores(model, held_out=False))
                skills = [parent for parent in model.parents if parent in values]
                mean = fmean(values[skill] for skill in skills)
                own = fmean(
                    _values(self._scores(state.models[skill], held_out=False))[skill]
                    for skill in skills
                )
                shares.append((mean, own))
                yield _row([
                    name, _point(model), f"{mean:.1f}", f"{100 * mean / own:.0f} %",
                    _each(values), *self._language(model),
                ])  # fmt: skip
            if self.rules[name].of_pairs:
                mean, own = (fmean(column) for column in zip(*shares, strict=True))
                yield _row([f"**{name}**", "mean", f"{mean:.1f}", f"{100 * mean / own:.0f} %"], 8)

    def _language(self, model: Model) -> list[str]:
        found = self.perplexities[model.content_id]
        return [f"{found[text]:.0f}" for text in TEXTS]


def best(state: RunState) -> Model:
    """The child with the best mean on the selection items; ties go to the earlier."""
    return max(children(state), key=lambda model: model.score or 0.0)


def _values(scores: Scores) -> dict[str, float]:
    """Points by skill."""
    names = {
        task_name(skill, held_out=held_out): skill for skill in SKILLS for held_out in (False, True)
    }
    return {names[task.task]: task.value for task in scores.tasks}


def _stderr(scores: Scores) -> float:
    """The standard error of the mean over the tasks, in points."""
    return math.hypot(*(task.stderr or 0.0 for task in scores.tasks)) / len(scores.tasks)


def _each(values: Mapping[str, float]) -> str:
    return " / ".join(f"{values[skill]:.0f}" for skill in SKILLS)


def _point(model: Model) -> str:
    """The weights of a child, or its parents."""
    chosen = model.candidate.proposal.coefficients if model.candidate else None
    if chosen is None:
        return " + ".join(model.parents)
    method = chosen.method.replace("_", " ")
    same = len(set(chosen.weights)) == 1
    weights = chosen.weights[:1] if same else chosen.weights
    density = "" if chosen.density is None else f", density {chosen.density:g}"
    return f"{method}, weight {', '.join(f'{w:.2g}' for w in weights)}{density}"


def _row(cells: Iterable[str], width: int = 0) -> str:
    shown: Sequence[str] = [*cells]
    return f"| {' | '.join([*shown, *[''] * (width - len(shown))])} |"
