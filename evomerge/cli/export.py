"""`evomerge export`: write a model of a run as a folder, and optionally upload it."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import click

from evomerge.adapters.estimates import with_estimates
from evomerge.cli.options import runs_dir_option
from evomerge.configfile import load_recorded
from evomerge.domain.errors import UsageError
from evomerge.domain.kinship import pair
from evomerge.domain.lineage import ancestors
from evomerge.domain.model import Model
from evomerge.domain.state import RunState, fold
from evomerge.driver import signals_stop
from evomerge.store.recorded import find_own_run
from evomerge.store.run_directory import RunDirectory

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


@click.command()
@click.argument("run")
@click.argument("model", required=False)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The new folder.")
@runs_dir_option
@click.option("--copy", is_flag=True, help="Copy the weights instead of hard-linking them.")
@click.option("--push", metavar="ORG/NAME", help="Upload the folder to the hub afterwards.")
@click.option("--public", is_flag=True, help="With --push: make the repository public.")
@click.option("--dry-run", is_flag=True, help="With --push: only show what would be uploaded.")
def command(
    run: str,
    model: str | None,
    to: Path,
    runs_dir: Path,
    copy: bool,
    push: str | None,
    public: bool,
    dry_run: bool,
) -> None:
    """Write MODEL of RUN (default: the best) as a complete Hugging Face model folder.

    It has weights, tokenizer, chat template, generation config, and a model card with lineage,
    recipe, scores and kinship. Pruned weights are recreated first. Weights are hard links into
    the store if possible: do not change them in place, or use --copy.

    --push uploads the folder to the hub as a private repository (HF_TOKEN or `hf auth login`).
    """
    if push is not None and not _HUB_ID.fullmatch(push):
        raise UsageError(f"--push: expected ORG/NAME, got {push!r}")
    if push is None and (public or dry_run):
        raise UsageError("--public and --dry-run are for --push", "add --push ORG/NAME")
    found = find_own_run(run, runs_dir)
    state = fold(found.read())
    chosen = _chosen(model, state, found)
    related = [pair(chosen.name, name) for name in ancestors(chosen.name, state.models)]
    state = with_estimates(found, state, related)
    files = _exported(chosen, state, found, to, push, copy=copy)
    for file in files:
        click.echo(f"{file.stat().st_size:>15,}  {file}")
    if push is None:
        return
    visible = "public" if public else "private"
    total = sum(file.stat().st_size for file in files)
    if dry_run:
        click.echo(f"would upload {len(files)} files, {total / 1e9:.2f} GB, to {push} ({visible})")
        return
    from evomerge.adapters.hub import Hub

    with signals_stop(), closing(Hub()) as hub:
        click.echo(hub.upload(to, push, private=not public))


def _chosen(name: str | None, state: RunState, run: RunDirectory) -> Model:
    from evomerge.terminal.naming import model_named

    if name is None:
        if state.best is None:
            raise UsageError(f"{run.name} has no scored model yet")
        name = state.best.name
    chosen = state.models[model_named(name, state, run.name)]
    if chosen.candidate is None:
        raise UsageError(
            f"{name} is a foundation model, not a merge", "name an offspring to export"
        )
    if not chosen.merged:
        raise UsageError(f"{name} was never merged", "name a model with weights")
    return chosen


def _exported(
    model: Model, state: RunState, run: RunDirectory, to: Path, push: str | None, *, copy: bool
) -> list[Path]:
    from evomerge.adapters.export import CARD, export_folder, lineage_yaml
    from evomerge.terminal.card import model_card

    config = load_recorded(run.config)
    hub = {
        each.name: each.source.partition("@")[0]
        for each in (state.start.base, *state.start.foundation)
        if each.commit is not None
    }
    lineage = [model, *(state.models[name] for name in ancestors(model.name, state.models))]
    title = push.partition("/")[2] if push else f"{state.start.name} {model.name}"
    card = model_card(model, state, config, hub, lineage_yaml(state, lineage, hub), title)
    if push and (to / CARD).is_file() and (to / CARD).read_text(encoding="utf-8") == card:
        return sorted(path for path in to.iterdir() if path.is_file())  # an upload is repeated
    return export_folder(_weights(model, state, run), to, card, copy=copy)


def _weights(model: Model, state: RunState, run: RunDirectory) -> Path:
    """The folder of a complete model; pruned weights are recreated."""
    import sys

    from evomerge.driver import rebuild
    from evomerge.store.artefacts import Store
    from evomerge.terminal.screen import reporter
    from evomerge.wiring import LocalWorkplace

    store = Store(run.store)
    name = f"models/{model.content_id}"
    if store.holds(name):
        return store.path(name)
    with signals_stop(), reporter(sys.stderr, plain=True) as observer:
        return rebuild(LocalWorkplace(load_recorded(run.config), run), state, model, observer)
