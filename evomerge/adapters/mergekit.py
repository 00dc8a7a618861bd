"""The mergekit worker and the conversion of recipes; merges happen in `mergekit_child`.

Nothing here imports mergekit or torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from evomerge.adapters.cached import CachedWorker
from evomerge.adapters.child import Child
from evomerge.domain.errors import PreflightError
from evomerge.domain.recipe import WEIGHT, Ingredient, Recipe
from evomerge.ports import Operation, Worker
from evomerge.store.artefacts import sha256
from evomerge.store.cache import Cache

CONFIG_FILE = "mergekit_config.yml"
RECIPE_FILE = "recipe.yaml"

WUDI_VECTORS, SUM = "wudi_task_vectors", "sum_of_task_vectors"
"""Merge methods of ours that make disentangled task vectors, and that add them to the base."""

REGMEAN = "regmean_pp"
"""The merge method whose task vectors `adapters.regmean` makes."""

_ENVIRONMENT = {
    # Every input is a folder; any other name must fail instead of being looked up on the hub.
    "HF_HUB_OFFLINE": "1",
    # mergekit iterates over sets and dicts keyed by model where the order affects the output.
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
}
_ADDED_KEYS = frozenset({"models", "slices", "modules", "base_model"})


def engine() -> str:
    """`mergekit` and its installed version, as recorded in recipes."""
    return f"mergekit {version('mergekit')}"


def worker(log: Path, cache: Cache | None = None, start: Callable[..., Worker] = Child) -> Worker:
    """The worker for `check`, `merge` and `disentangle`, a child process that lives until closed.

    The same recipe and inputs give the same bytes in every weight file, whatever the names of the
    folders, on the same kind of processor with the same number of threads and shard size.

    Args:
        log: file that the child's stderr is appended to.
        cache: cache of recipes that passed `check`.
        start: makes the worker, with the arguments of `Child`.
    """
    module = "evomerge.adapters.mergekit_child"
    kinds = {"check", "merge", "disentangle"}
    child = start(module, kinds, log, _ENVIRONMENT, name="mergekit child")
    return child if cache is None else CachedWorker(child, "cpu", {"check": _basis}, cache)


def _basis(operation: Operation, _device: str) -> dict[str, Any]:
    """Everything that the result of `check` depends on."""
    own = [Path(__file__), Path(__file__).with_name("mergekit_child.py")]
    return {
        "check": operation.arguments,
        "versions": {name: version(name) for name in ("mergekit", "transformers", "torch")},
        "python": sys.version,
        "evomerge": [sha256(path) for path in own],
    }


def mergekit_config(recipe: Recipe) -> dict[str, Any]:
    """The complete mergekit configuration of `recipe`, with content ids as the models' names.

    It can be run in a folder that contains the inputs under their content ids. `base_model` is
    always set: without it mergekit takes config and tokenizer from any of the models.

    Raises:
        PreflightError: the fragment has a key that evomerge sets.
    """
    config: dict[str, Any] = {
        "merge_method": recipe.fragment.get("merge_method", recipe.method),
        "models": [
            {"model": parent.model, "parameters": dict(parent.parameters)}
            if parent.parameters
            else {"model": parent.model}
            for parent in recipe.parents
        ],
        "base_model": recipe.base,
        "parameters": dict(recipe.parameters),
        "dtype": recipe.dtype,
        "tokenizer_source": recipe.tokenizer,
        "chat_template": recipe.chat_template,
    }
    config = {key: value for key, value in config.items() if value not in (None, {})}
    doubled = sorted(
        key
        for key, value in recipe.fragment.items()
        if key in _ADDED_KEYS or config.get(key, value) != value
    )
    if doubled:
        raise PreflightError(
            f"the mergekit fragment must not set {', '.join(doubled)}",
            "evomerge adds them to every merge; leave them out of `merge.fragment`",
        )
    return {**config, **recipe.fragment}


def sum_of(recipe: Recipe) -> Recipe:
    """What mergekit runs for a recipe with `task_vectors`, which it finds under the parents' ids.

    They are in the child's vocabulary, and so is the base beside them, if `tokenizer` is set.
    """
    parents = [
        Ingredient(model=parent.model, parameters={WEIGHT: parent.parameters[WEIGHT]})
        for parent in recipe.parents
    ]
    return Recipe(
        method=SUM,
        parents=tuple(parents),
        base=recipe.base,
        dtype=recipe.dtype,
        chat_template=recipe.chat_template,
        options=recipe.options,
        engine=recipe.engine,
    )


def wudi_vectors(recipe: Recipe) -> Recipe:
    """What mergekit runs to disentangle task vectors by wudi, from the recipe of their set."""
    rows = recipe.rows
    parents = [
        Ingredient(model=parent.model, parameters={"row": rows.index(parent.model)})
        for parent in recipe.parents
        if parent.model != recipe.base
    ]
    shape = {"rows": len(rows), "base_row": recipe.base in rows}
    changes = {
        "method": WUDI_VECTORS,
        "parents": tuple(parents),
        "parameters": {**recipe.parameters, **shape},
    }
    return recipe.model_copy(update=changes)


def mergekit_yaml(recipe: Recipe) -> str:
    """`mergekit_config` as the YAML text that is stored with the model.

    It is executed, unless the recipe has `task_vectors`: then its result differs by rounding. Of
    `regmean_pp` mergekit runs the sum only.
    """
    executed = sum_of(recipe) if recipe.method == REGMEAN else recipe
    return yaml.safe_dump(
        mergekit_config(executed), sort_keys=False, allow_unicode=True, default_flow_style=None
    )


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as YAML: its `id`, then its fields."""
    content = {"id": recipe.id, **recipe.model_dump(mode="json")}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
