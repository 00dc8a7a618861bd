"""A model of the store as a folder of its own, complete or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from evomerge.adapters.mergekit import CONFIG_FILE, RECIPE_FILE, mergekit_config
from evomerge.domain.errors import UsageError
from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.domain.state import RunState
from evomerge.store.artefacts import MANIFEST, PRUNED
from evomerge.store.atomic import storage_faults, sync_tree

CARD = "README.md"
_OURS = {MANIFEST, PRUNED, CONFIG_FILE, RECIPE_FILE, CARD}
"""Of the store; the card holds what of it concerns others."""
_PLACES = ("_name_or_path", "name_or_path")
"""Keys in which libraries note the folder that a model was loaded from."""


def export_folder(model: Path, to: Path, card: str, *, copy: bool) -> list[Path]:
    """Write a complete model folder; the files in it, by name.

    Args:
        model: a whole artefact of the store.
        to: a folder that is not there yet, or empty.
        copy: copy weights even where they could be linked.

    Raises:
        UsageError: `to` is in the way.
        StoppedError: the disk is full or failing.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} is there already", "name a folder that does not exist yet")
    to.parent.mkdir(parents=True, exist_ok=True)
    aside = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with storage_faults(to):
            aside.mkdir()
            for file in sorted(model.iterdir()):
                if file.is_file() and file.name not in _OURS:
                    _put(file, aside / file.name, copy=copy)
            (aside / CARD).write_text(card, encoding="utf-8")
            sync_tree(aside)
            if to.is_dir():
                to.rmdir()
            aside.rename(to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return sorted(to.iterdir())


def _put(file: Path, into: Path, *, copy: bool) -> None:
    if file.suffix == ".json":
        into.write_text(_without_places(file.read_text(encoding="utf-8")), encoding="utf-8")
    elif copy or file.suffix != ".safetensors":
        shutil.copyfile(file, into)
    else:
        try:
            os.link(file, into)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(file, into)


def _without_places(text: str) -> str:
    """A JSON file without the paths that libraries leave in it; as it was if there are none."""
    try:
        content = json.loads(text)
    except ValueError:
        return text
    if not isinstance(content, dict) or not any(key in content for key in _PLACES):
        return text
    kept: dict[str, Any] = {key: value for key, value in content.items() if key not in _PLACES}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def lineage_yaml(state: RunState, lineage: list[Model], hub: Mapping[str, str]) -> str:
    """The mergekit configurations of merges, oldest first, each with its child's `name`.

    Args:
        hub: hub ids by name of the base and the foundation models.
    """
    names = {model.content_id: model.name for model in state.models.values()}
    names[state.start.base.content_id] = state.start.base.name
    spelled = {content_id: hub.get(name, name) for content_id, name in names.items()}
    base = spelled[state.start.base.content_id]
    for each in state.start.foundation:
        if each.adapter is not None:  # as mergekit spells a model with an adapter
            spelled[each.content_id] = f"{base}+{spelled[each.content_id]}"
    documents = [
        {"name": model.name, **_named(model.candidate.recipe, spelled)}
        for model in sorted(lineage, key=lambda model: model.generation)
        if model.candidate is not None
    ]
    return yaml.safe_dump_all(
        documents, sort_keys=False, allow_unicode=True, default_flow_style=None
    )


def _named(recipe: Recipe, names: Mapping[str, str]) -> dict[str, Any]:
    """A mergekit configuration with names in the place of content ids, local paths left out."""
    config = mergekit_config(recipe)
    name: Callable[[str], str] = lambda content_id: names.get(content_id, Path(content_id).name)  # noqa: E731
    config["models"] = [{**each, "model": name(each["model"])} for each in config["models"]]
    config["base_model"] = name(config["base_model"])
    source = config.get("tokenizer_source")
    if source not in {None, "union", "base"}:
        config["tokenizer_source"] = name(source)
    return config
