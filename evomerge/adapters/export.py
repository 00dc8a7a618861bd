"""Export of a model from the store to a new folder, atomically."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from evomerge.adapters.foundation.source import CARD
from evomerge.adapters.mergekit import CONFIG_FILE, RECIPE_FILE, mergekit_config
from evomerge.domain.errors import UsageError
from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.domain.state import RunState
from evomerge.store.artefacts import MANIFEST, PRUNED
from evomerge.store.atomic import storage_faults, sync_tree

_OURS = {MANIFEST, PRUNED, CONFIG_FILE, RECIPE_FILE, CARD}
"""Files of the store that are not exported; the model card has their relevant content."""
_PLACES = ("_name_or_path", "name_or_path")
"""Keys in which libraries record the folder that a model was loaded from."""


def export_folder(model: Path, to: Path, card: str, *, copy: bool) -> list[Path]:
    """Write a complete model folder; returns its files, sorted by name.

    Args:
        model: folder of a complete artefact of the store.
        to: a folder that does not exist, or is empty.
        copy: copy weights instead of hard-linking them.

    Raises:
        UsageError: `to` exists already.
        StoppedError: the disk is full or failing.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} exists already", "name a folder that does not exist yet")
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
        except OSError:  # another disk, or a file system without hard links
            shutil.copyfile(file, into)


def _without_places(text: str) -> str:
    """A JSON file without the local paths that libraries write; unchanged if it has none."""
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
        if each.adapter is not None:  # mergekit's notation of a model with an adapter
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
    """A mergekit configuration with names instead of content ids, without local paths."""
    config = mergekit_config(recipe)
    name: Callable[[str], str] = lambda content_id: names.get(content_id, Path(content_id).name)  # noqa: E731
    config["models"] = [{**each, "model": name(each["model"])} for each in config["models"]]
    config["base_model"] = name(config["base_model"])
    source = config.get("tokenizer_source")
    if source not in {None, "union", "base"}:
        config["tokenizer_source"] = name(source)
    return config
