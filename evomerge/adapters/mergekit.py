"""The `Merger` port over mergekit; the merges themselves happen in `mergekit_child`.

Nothing here imports mergekit or torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from evomerge.adapters.child import Child
from evomerge.config import MergeOptions
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.recipe import Recipe
from evomerge.ports import Progress
from evomerge.store.artefacts import sha256
from evomerge.store.cache import Cache

CONFIG_FILE = "mergekit_config.yml"
RECIPE_FILE = "recipe.yaml"

_ENVIRONMENT = {
    # Every input is a folder; a name that is not one must fail, not be looked for on the hub.
    "HF_HUB_OFFLINE": "1",
    # mergekit walks sets and hash maps keyed by model where the order reaches the output.
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
}
_ADDED_KEYS = frozenset({"models", "slices", "modules", "base_model"})


def engine() -> str:
    """`mergekit` and its installed version, as recipes name it."""
    return f"mergekit {version('mergekit')}"


class MergekitMerger:
    """Executes recipes with mergekit, in one child process that lives until `close`.

    Args:
        options: a recipe's own `options` come over them.
        log: file that the child's stderr is appended to.
        timeout: seconds that one merge may take; None for no limit.
        cache: where it is remembered which recipes passed `check`.
    """

    def __init__(
        self,
        options: MergeOptions,
        log: Path,
        timeout: float | None = None,
        cache: Cache | None = None,
    ) -> None:
        self._options = options
        self._cache = cache
        self._timeout = timeout
        self._child = Child(
            "evomerge.adapters.mergekit_child", log, _ENVIRONMENT, name="mergekit child"
        )

    @property
    def engine(self) -> str:
        """`mergekit` and its installed version."""
        return engine()

    def start(self) -> None:
        """Start the child, so that it imports torch and mergekit in the background."""
        self._child.start()

    def check(self, recipe: Recipe) -> None:
        """Check a recipe without its inputs: method, keys, parameters, ranges, options.

        Raises:
            PreflightError: mergekit would refuse it, or would ignore a part of it.
        """
        if not self.is_checked(recipe):
            self._child.call("check", self._payload(recipe))
            if self._cache is not None:
                self._cache.put(self._basis(recipe), {})

    def is_checked(self, recipe: Recipe) -> bool:
        """Whether it is known without the child that a recipe passes `check`."""
        return self._cache is not None and self._cache.get(self._basis(recipe)) is not None

    def _basis(self, recipe: Recipe) -> dict[str, Any]:
        """Everything that the outcome of `check` depends on."""
        return {
            "check": self._payload(recipe),
            "versions": {name: version(name) for name in ("mergekit", "transformers", "torch")},
            "python": sys.version,
            "evomerge": sha256(Path(__file__).with_name("mergekit_child.py")),
        }

    def merge(
        self, recipe: Recipe, inputs: Mapping[str, Path], into: Path, progress: Progress
    ) -> None:
        """Write the model of `recipe`, `mergekit_config.yml` and `recipe.yaml` into `into`.

        The same recipe and inputs give the same bytes in every weight file, whatever the folders
        are called, on the same kind of processor with the same number of threads and shard size.

        Args:
            inputs: the folder of every content id in `recipe.inputs`, and of the recipe's
                tokenizer where that is a further model.
            into: an empty folder; after an error its content is worthless.
            progress: in tensors.

        Raises:
            PreflightError: as `check`.
            CandidateError: the merge failed, or a weight of the child is not finite.
        """
        needed = recipe.inputs
        missing = [name for name in needed if name not in inputs]
        if missing:
            raise CandidateError(f"no folder is given for {', '.join(missing)}")
        folders = {name: str(Path(inputs[name]).resolve()) for name in needed}
        payload = {**self._payload(recipe), "inputs": folders, "into": str(into.resolve())}
        self._child.call("merge", payload, progress, self._timeout)
        (into / CONFIG_FILE).write_text(payload["config"], encoding="utf-8")
        (into / RECIPE_FILE).write_text(recipe_yaml(recipe), encoding="utf-8")

    def close(self) -> None:
        """End the child; a merge that is under way in another thread raises CandidateError."""
        self._child.close()

    def _payload(self, recipe: Recipe) -> dict[str, Any]:
        known = type(self._options).model_fields
        own = {name: value for name, value in recipe.options.items() if name in known}
        return {
            "config": mergekit_yaml(recipe),
            "seed": recipe.seed,
            "options": {**self._options.model_dump(), **own},
            "recipe_options": {k: v for k, v in recipe.options.items() if k not in known},
        }


def mergekit_config(recipe: Recipe) -> dict[str, Any]:
    """The complete mergekit configuration of `recipe`, with content ids as the models' names.

    It runs as it stands in a folder where the inputs lie under their content ids. `base_model` is
    always there: without it mergekit takes config and tokenizer from any of the models.

    Raises:
        PreflightError: the fragment holds a key that the recipe itself gives.
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


def mergekit_yaml(recipe: Recipe) -> str:
    """`mergekit_config` as the text that is executed and kept with the model."""
    return yaml.safe_dump(
        mergekit_config(recipe), sort_keys=False, allow_unicode=True, default_flow_style=None
    )


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as a file: its `id`, then its fields."""
    content = {"id": recipe.id, **recipe.model_dump(mode="json")}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
