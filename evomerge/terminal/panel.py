"""Details of one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from evomerge.domain.identity import canonical_json
from evomerge.domain.model import Failure, Model
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.columns import Fitted, numbers, words
from evomerge.terminal.figures import printable, spelled
from evomerge.terminal.sentences import SPLITS
from evomerge.terminal.tables import (
    FAILURE,
    KEPT_OUT,
    gain_text,
    kind_style,
    kinship_text,
    outcome_text,
    reason,
)

_KIN = 3
Fact = tuple[str, RenderableType]


def model_panel(state: RunState, model: str) -> Panel:
    """All details of one model.

    Its origin, the reason for the merge, its recipe, its scores beside those of its parents, and
    whether it is in the pool or failed.

    Raises:
        KeyError: the run has no such model.
    """
    subject = state.models[model]
    facts = facts_table([*_origin(subject, state), *_recipe(subject), *_outcome(subject, state)])
    parts: list[RenderableType] = [facts]
    if subject.scores is not None:
        parts += ["", _scores(subject, state)]
    title = Text.assemble(" ", (printable(subject.name), "bold"), " ")
    return Panel(
        Group(*parts),
        title=title,
        title_align="left",
        expand=False,
        padding=(1, 2),
        border_style="dim",
    )


def facts_table(facts: Sequence[Fact]) -> Table:
    """A table of labels and values; long values wrap beside their label."""
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in facts:
        table.add_row(Text(label), value)
    return table


def _origin(model: Model, state: RunState) -> Iterator[Fact]:
    yield "kind", spelled(f"{model.kind}, generation {model.generation}", kind_style(model))
    for foundation in state.start.foundation:
        if foundation.name == model.name:
            yield "source", Text(printable(foundation.source))
            yield "content", Text(printable(foundation.content_id))
            if foundation.adapter is not None:
                what = f"a LoRA adapter, merged onto {state.start.base.name} by "
                yield "made of", Text(printable(what + foundation.adapter.engine))
    if model.parents:
        yield "parents", Text(printable(figures.parents(model.parents)))
        kin = kinship_text(model, state).append(f"  {state.start.metric.value}", "dim")
        yield "their kinship", kin
        yield "why", Text(printable(reason(model)))
    children = [child.name for child in state.models.values() if model.name in child.parents]
    if children:
        yield "children", Text(printable(", ".join(children)))
    relatives = _relatives(model, state)
    if relatives:
        yield "closest kin", Text(printable(", ".join(relatives[:_KIN])))
        if len(relatives) > _KIN:
            yield "least related", Text(printable(", ".join(relatives[: -_KIN - 1 : -1])))


def kinship_between(model: Model, other: str, state: RunState) -> str:
    """The kinship of two models, marked where it is an estimate."""
    kinship = state.kinship
    value, error = kinship.between(model.name, other), kinship.error(model.name, other)
    return figures.kinship(value, state.start.metric, error)


def _relatives(model: Model, state: RunState) -> list[str]:
    """All other models with their kinship to this one, closest first."""
    closeness = {
        name: value
        for name in state.models
        if name != model.name and (value := state.kinship.closeness(model.name, name)) is not None
    }
    return [
        f"{name} {kinship_between(model, name, state)}"
        for name in sorted(closeness, key=lambda name: -closeness[name])
    ]


def _recipe(model: Model) -> Iterator[Fact]:
    if model.candidate is None:
        return
    recipe = model.candidate.recipe
    yield "recipe", Text(recipe.id)
    method = recipe.method if recipe.dtype is None else f"{recipe.method}, {recipe.dtype}"
    yield "method", Text(printable(f"{method}, {recipe.engine}"))
    if recipe.parameters:
        yield "parameters", Text(printable(canonical_json(recipe.parameters)))
    for name, ingredient in zip(model.parents, recipe.parents, strict=False):
        if ingredient.parameters:
            text = f"{name}: {canonical_json(ingredient.parameters)}"
            yield "of a parent", Text(printable(text))
    for label, value in (("fragment", recipe.fragment), ("options", recipe.options)):
        if value:
            yield label, Text(printable(canonical_json(value)))
    if recipe.seed is not None:
        yield "seed", Text(str(recipe.seed))


def _outcome(model: Model, state: RunState) -> Iterator[Fact]:
    if model.failure is not None:
        attempts = figures.count(model.failure.attempts, "attempt")
        yield "failed", Text(f"in {model.failure.stage}, after {attempts}", FAILURE)
        yield "reason", Text(printable(model.failure.reason), FAILURE)
        return
    if model.scores is None:
        yield "score", outcome_text(model, state, {})
        return
    text = spelled(figures.score(model), "bold")
    if model.selectable:
        place = state.ranking.index(model) + 1
        text.append(f"  {place} of {len(state.ranking)}", "dim")
    yield "score", text.append(", in the pool" if model in state.pool else "", "dim")
    if model.parents:
        yield "gain", gain_text(model, state).append("  over the mean of its parents", "dim")
    if model.perplexity is not None:
        yield "perplexity", Text(figures.perplexity(model))
    if model.kept_out is not None:
        yield KEPT_OUT, Text(printable(model.kept_out), FAILURE)
    yield from _held_out(model)
    if model.warnings:
        said = "\n".join(printable(warning.sentence) for warning in model.warnings)
        yield "warnings", Text(said, "yellow")


def _held_out(model: Model) -> Iterator[Fact]:
    """The results of held-out evaluation."""
    for split, outcome in model.held_out.items():
        if isinstance(outcome, Failure):
            yield SPLITS[split], Text(printable(f"not scored: {outcome.reason}"), FAILURE)
            continue
        text = Text(figures.score(model, split))
        if split == "held_out":
            text.append(f"  gap {figures.gain(model.selection_gap)}", "dim")
        else:
            tasks = (f"{task.task} {figures.task_points(task, True)}" for task in outcome.tasks)
            text.append(printable(f"  ({', '.join(tasks)})"), "dim")
        yield SPLITS[split], text


def _scores(model: Model, state: RunState) -> Fitted:
    """Task scores beside those of the parents, then the kinship to each parent."""
    tasks = () if model.scores is None else model.scores.tasks
    parents = [state.models[name] for name in model.parents]
    last = ["mean", "kinship to it"] if parents else ["mean"]
    blank = [""] * len(last)
    label = words("task", [*(task.task for task in tasks), *last])
    own = numbers(
        model.name,
        [
            *(figures.task_points(task, with_error=True) for task in tasks),
            spelled(figures.score(model), "bold"),
            *blank[1:],
        ],
    )
    theirs = [
        numbers(
            parent.name,
            [
                *_task_scores(parent, [task.task for task in tasks]),
                figures.score(parent),
                kinship_between(model, parent.name, state),
            ],
        )
        for parent in parents
    ]
    held_out = model.on("held_out")
    if held_out is not None:
        others = (figures.task_points(task, with_error=True) for task in held_out.tasks)
        mean = figures.score(model, "held_out")
        theirs.insert(0, numbers("held-out", [*others, mean, *blank[1:]]))
    metric = words("metric", [*(spelled(task.metric, "dim") for task in tasks), *blank])
    items = numbers("items", [*(spelled(str(task.samples), "dim") for task in tasks), *blank])
    return Fitted([label, own, *theirs, metric, items], [label, own, *theirs], [label, own])


def _task_scores(model: Model, tasks: list[str]) -> list[str]:
    known = {} if model.scores is None else {task.task: task for task in model.scores.tasks}
    return [
        figures.task_points(known[task], with_error=True) if task in known else figures.MISSING
        for task in tasks
    ]
