"""One model: its recipe, lineage and scores, and its card and recipe as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from evomerge.adapters.estimates import with_estimates
from evomerge.adapters.foundation.source import CARD
from evomerge.adapters.mergekit import mergekit_yaml, recipe_yaml
from evomerge.api.exporting import card
from evomerge.domain.errors import EvomergeError
from evomerge.domain.kinship import pair
from evomerge.domain.lineage import merge_gain
from evomerge.domain.model import Model
from evomerge.domain.references import best_by_task
from evomerge.domain.scores import Scores, TaskScore
from evomerge.domain.state import RunState
from evomerge.store.recorded import find_own_run
from evomerge.ui.site import Site, link

_NEAREST = 8
_DEEPEST = 12


@dataclass(frozen=True)
class Relative:
    """Another model's kinship to this one; `error` is half the 95 % interval of an estimate."""

    name: str
    value: float
    error: float | None


@dataclass(frozen=True)
class Ancestor:
    """A model of the lineage; an ancestor that came up before has no parents here."""

    name: str
    score: float | None
    parents: tuple[Ancestor, ...] = ()
    again: bool = False


def page(request: Request) -> Response:
    """`/runs/RUN/model?name=MODEL`."""
    site: Site = request.app.state.site
    seen = site.run(request)
    model = site.model(seen, request.query_params.get("name"))
    others = [
        name for name, each in seen.state.models.items() if each.scores and name != model.name
    ]
    state = with_estimates(seen.run, seen.state, [pair(model.name, other) for other in others])
    parents = [state.models[name] for name in model.parents]
    recipe = model.candidate.recipe if model.candidate else None
    return site.page(
        request,
        "model.html",
        seen=seen,
        state=state,
        model=model,
        parents=parents,
        source=next((f for f in state.start.foundation if f.name == model.name), None),
        rank=state.ranking.index(model) + 1 if model.selectable else None,
        gain_over_parents=merge_gain(model, state.models),
        coefficients=_coefficients(model),
        tasks=_tasks(model, state),
        lineage=_ancestor(model, state, set(), _DEEPEST) if parents else None,
        children=[each for each in state.models.values() if model.name in each.parents],
        relatives=_relatives(model, state),
        recipe=_named(mergekit_yaml(recipe), state) if recipe else "",
    )


def download(request: Request) -> Response:
    """`/runs/RUN/file?name=MODEL&what=card|recipe|mergekit`, as an attachment."""
    site: Site = request.app.state.site
    seen = site.run(request)
    model = site.model(seen, request.query_params.get("name"))
    what = request.query_params.get("what")
    back = link(seen.name, "model", name=model.name)
    if model.candidate is None or what not in _FILES:
        why = (
            f"{model.name} is a foundation model: it has no recipe and no card"
            if model.candidate is None
            else f"{what!r} is none of {', '.join(_FILES)}"
        )
        return site.message(request, 404, "No such file", why, back=back)
    try:
        text = {
            "card": lambda: card(
                find_own_run(str(seen.run.path), seen.run.path.parent), seen.state, model
            ),
            "recipe": lambda: recipe_yaml(model.candidate.recipe),
            "mergekit": lambda: mergekit_yaml(model.candidate.recipe),
        }[what]()
    except EvomergeError as error:
        return site.message(request, 409, "No card", error.message, error.remedy or "", back)
    name = quote(f"{seen.name}-{model.name}-{_FILES[what]}", safe="")
    disposition = f"attachment; filename*=UTF-8''{name}"
    return Response(text, media_type="text/plain", headers={"content-disposition": disposition})


_FILES = {"card": CARD, "recipe": "recipe.yaml", "mergekit": "mergekit.yaml"}


def _named(text: str, state: RunState) -> str:
    """A mergekit configuration with names in place of content ids."""
    models = [(model.content_id, model.name) for model in state.models.values()]
    for content_id, name in [*models, (state.start.base.content_id, state.start.base.name)]:
        text = text.replace(content_id, name)
    return text


def _coefficients(model: Model) -> list[tuple[str, float]]:
    """The weight of each parent, if the recipe gives them one number each."""
    if model.candidate is None:
        return []
    found = []
    for name, ingredient in zip(model.parents, model.candidate.recipe.parents, strict=False):
        weight = ingredient.parameters.get("weight")
        if isinstance(weight, int | float):
            found.append((name, float(weight)))
    return found


@dataclass(frozen=True)
class TaskLine:
    """The scores on a task.

    Attributes:
        best, holder: of the best foundation model on it; None until one is scored.
        parents: of the parents, in their order.
        kept: whether the skill is kept; None if `best` is unknown.
    """

    score: TaskScore
    held_out: TaskScore | None
    parents: tuple[TaskScore | None, ...]
    best: float | None
    holder: str | None
    kept: bool | None


def _tasks(model: Model, state: RunState) -> list[TaskLine]:
    """One line for each task of the selection split."""
    if model.scores is None:
        return []
    held_out = _by_task(model.on("held_out"))
    theirs = [_by_task(state.models[name].scores) for name in model.parents]
    tops = best_by_task(state.at_generation(0), "selection")
    lines = []
    for score in model.scores.tasks:
        best, holder = tops.get(score.task, (None, None))
        lines.append(
            TaskLine(
                score,
                held_out.get(score.task),
                tuple(each.get(score.task) for each in theirs),
                best,
                holder,
                None if best is None else score.value >= state.skill_kept_at * best,
            )
        )
    return lines


def _by_task(scores: Scores | None) -> Mapping[str, TaskScore]:
    return {score.task: score for score in scores.tasks} if scores else {}


def _ancestor(model: Model, state: RunState, known: set[str], deep: int) -> Ancestor:
    if model.name in known or not deep:
        return Ancestor(model.name, model.score, again=bool(model.parents))
    known.add(model.name)
    parents = (state.models[name] for name in model.parents)
    found = tuple(_ancestor(parent, state, known, deep - 1) for parent in parents)
    return Ancestor(model.name, model.score, found)


def _relatives(model: Model, state: RunState) -> list[Relative]:
    """The models whose kinship to this one is known, closest first."""
    closeness = {
        name: value
        for name in state.models
        if name != model.name and (value := state.kinship.closeness(model.name, name)) is not None
    }
    kinship = state.kinship
    return [
        Relative(name, kinship.between(model.name, name) or 0.0, kinship.error(model.name, name))
        for name in sorted(closeness, key=lambda name: -closeness[name])[:_NEAREST]
    ]
