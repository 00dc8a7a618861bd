"""Exports of models as Hugging Face folders; behind `Run.export` and `evomerge export`."""

from __future__ import annotations

from pathlib import Path

from evomerge.adapters.estimates import with_estimates
from evomerge.configfile import load_recorded
from evomerge.domain.errors import UsageError
from evomerge.domain.kinship import pair
from evomerge.domain.lineage import ancestors
from evomerge.domain.model import Model
from evomerge.domain.state import RunState, fold
from evomerge.driver import signals_stop
from evomerge.store.run_directory import RunDirectory


def export(
    run: RunDirectory,
    to: Path,
    model: str | None = None,
    *,
    title: str | None = None,
    copy: bool = False,
    repeated: bool = False,
) -> list[Path]:
    """Write a model of a run as a complete Hugging Face folder; returns the files of `to`.

    Args:
        model: its name; None for the best.
        title: of the model card; default: the names of run and model.
        copy: copy the weights; else they are hard links into the store where possible.
        repeated: accept a folder that already holds the same export.

    Raises:
        UsageError: there is no such offspring, or `to` is in the way.
        EvomergeError: pruned weights cannot be merged again.
    """
    from evomerge.adapters.export import export_folder
    from evomerge.adapters.foundation.source import CARD

    state = fold(run.read())
    subject = _offspring(model, state, run)
    text = card(run, state, subject, title)
    if repeated and (to / CARD).is_file() and (to / CARD).read_text(encoding="utf-8") == text:
        return sorted(path for path in to.iterdir() if path.is_file())
    return export_folder(weights_of(run, subject), to, text, copy=copy)


def card(run: RunDirectory, state: RunState, model: Model, title: str | None = None) -> str:
    """The model card of an offspring, as it is exported.

    Args:
        title: heading of the card; default: the names of run and model.

    Raises:
        ConfigError: the run has no readable config.
    """
    from evomerge.adapters.export import lineage_yaml
    from evomerge.terminal.card import model_card

    related = ancestors(model.name, state.models)
    state = with_estimates(run, state, [pair(model.name, name) for name in related])
    hub = {
        each.name: each.source.partition("@")[0]
        for each in (state.start.base, *state.start.foundation)
        if each.commit is not None
    }
    lineage = lineage_yaml(state, [model, *(state.models[name] for name in related)], hub)
    title = title or f"{state.start.name} {model.name}"
    return model_card(model, state, load_recorded(run.config), hub, lineage, title)


def _offspring(name: str | None, state: RunState, run: RunDirectory) -> Model:
    from evomerge.terminal.naming import model_named

    if name is None:
        if state.best is None:
            raise UsageError(f"{run.name} has no scored model yet")
        name = state.best.name
    model = state.models[model_named(name, state, run.name)]
    if model.candidate is None:
        raise UsageError(
            f"{name} is a foundation model, not a merge", "name an offspring to export"
        )
    if not model.merged:
        raise UsageError(f"{name} was never merged", "name a model with weights")
    return model


def weights_of(run: RunDirectory, model: Model) -> Path:
    """The folder in the store of an offspring's weights; pruned ones are recreated.

    Raises:
        UsageError: it is a foundation model, whose weights are not the run's.
        EvomergeError: they cannot be merged again.
    """
    import sys

    from evomerge.driver import rebuild
    from evomerge.store.artefacts import Store
    from evomerge.terminal.screen import reporter
    from evomerge.wiring import LocalWorkplace

    if model.candidate is None:
        raise UsageError(
            f"{model.name} is a foundation model: its weights are not the run's",
            "leave them out, or name an offspring",
        )
    state, store = fold(run.read()), Store(run.store)
    name = f"models/{model.content_id}"
    if store.holds(name):
        return store.path(name)
    with signals_stop(), reporter(sys.stderr, plain=True) as observer:
        return rebuild(LocalWorkplace(load_recorded(run.config), run), state, model, observer)
