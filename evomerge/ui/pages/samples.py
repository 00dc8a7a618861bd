"""A task's items: prompt, target, and a model's answers beside those of other models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args
from urllib.parse import urlencode

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from evomerge.domain.errors import DamagedError
from evomerge.domain.model import Model
from evomerge.domain.scores import Split
from evomerge.domain.state import RunState
from evomerge.gains import filters_of
from evomerge.store.artefacts import Store
from evomerge.store.samples import NoItemsError
from evomerge.ui.answers import OUTCOMES, Outcome, Page
from evomerge.ui.site import Site, link
from evomerge.ui.watching import Seen

SPLITS: tuple[Split, ...] = get_args(Split)
_MOST_BESIDE = 6


@dataclass(frozen=True)
class Asked:
    """What is asked for, completed from the run."""

    model: Model
    beside: tuple[Model, ...]
    split: Split
    task: str
    outcome: Outcome
    words: str
    number: int


def page(request: Request) -> Response:
    """`/runs/RUN/samples?model=&task=&split=&beside=&outcome=&words=&page=`."""
    site: Site = request.app.state.site
    seen = site.run(request)
    state = seen.state
    asked = _asked(request, site, seen)
    found, missing = (
        (None, "no model is scored yet") if asked is None else _found(site, seen, asked)
    )
    return site.page(
        request,
        "samples.html",
        seen=seen,
        asked=asked,
        found=found,
        missing=missing,
        outcomes=OUTCOMES,
        models=[model for model in state.models.values() if model.scores is not None],
        splits=[split for split in SPLITS if asked and asked.model.on(split)],
        tasks=_tasks(asked.model, asked.split) if asked else [],
        to=_addresses(seen, asked) if asked else None,
        marked=_marker(asked.words if asked else ""),
    )


def _asked(request: Request, site: Site, seen: Seen) -> Asked | None:
    """The question with what it leaves open: the best model beside its parents."""
    query, state = request.query_params, seen.state
    name = query.get("model") or (state.best.name if state.best else None)
    if name is None:
        return None
    model = site.model(seen, name)
    split = cast("Split", query.get("split") if query.get("split") in SPLITS else "selection")
    if model.on(split) is None:
        split = "selection"
    tasks = _tasks(model, split)
    task = query.get("task") if query.get("task") in tasks else next(iter(tasks), "")
    chosen = [each for each in query.getlist("beside") if each in state.models and each != name]
    beside = chosen if "beside" in query else _by_itself(model, state)
    number = query.get("page", "1")
    return Asked(
        model,
        tuple(state.models[each] for each in beside[:_MOST_BESIDE]),
        split,
        task or "",
        cast("Outcome", query.get("outcome") if query.get("outcome") in OUTCOMES else "all"),
        query.get("words", "").strip()[:200],
        int(number) if number.isdecimal() and len(number) < 10 else 1,
    )


def _by_itself(model: Model, state: RunState) -> Sequence[str]:
    """The models to show beside one: its parents; beside a foundation model the best one."""
    if model.parents:
        return model.parents
    return [state.best.name] if state.best and state.best is not model else []


def _tasks(model: Model, split: Split) -> list[str]:
    scores = model.on(split)
    return [task.task for task in scores.tasks] if scores else []


def _found(site: Site, seen: Seen, asked: Asked) -> tuple[Page | None, str]:
    """(the page that is asked for, why there is none)."""
    scored = [model for model in asked.beside if asked.task in _tasks(model, asked.split)]
    try:
        return site.answers.page(
            Store(seen.run.store),
            [asked.model, *scored],
            asked.task,
            filters_of(seen.run).get(asked.task),
            asked.split,
            outcome=asked.outcome,
            words=asked.words,
            number=asked.number,
        ), ""
    except NoItemsError as error:
        return None, str(error)
    except (DamagedError, OSError) as error:
        return None, error.message if isinstance(error, DamagedError) else str(error)


def _addresses(seen: Seen, asked: Asked) -> object:
    """A function from what changes to the address of the same question with the change."""

    def to(
        outcome: str | None = None, number: int | None = None, beside: int = _MOST_BESIDE
    ) -> str:
        rest = link(
            seen.name,
            "samples",
            model=asked.model.name,
            task=asked.task,
            split=asked.split,
            words=asked.words,
            outcome=outcome or asked.outcome,
            page=number,
        )
        names = [model.name for model in asked.beside[:beside]] or [""]
        return f"{rest}&{urlencode([('beside', name) for name in names])}"

    return to


def _marker(words: str) -> object:
    """A function that escapes a text and marks the words in it."""
    if not words.split():
        return escape
    pattern = re.compile("|".join(map(re.escape, words.split())), re.IGNORECASE)

    def marked(text: str) -> Markup:
        parts, end = [], 0
        for match in pattern.finditer(text):
            parts += [escape(text[end : match.start()]), Markup("<mark>"), escape(match[0])]
            parts.append(Markup("</mark>"))
            end = match.end()
        return Markup("").join([*parts, escape(text[end:])])

    return marked
