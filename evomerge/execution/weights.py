"""The weights of a run's models: locating, recreating and pruning them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from evomerge.config import Config
from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.domain.retention import needed, unneeded
from evomerge.domain.state import RunState
from evomerge.execution.operations import merge
from evomerge.execution.pool import Pool
from evomerge.execution.resources import Resources
from evomerge.ports import Observer, Progress
from evomerge.store.artefacts import WEIGHTS, Store
from evomerge.store.atomic import make_folder


class Weights:
    """Foundation models where they lie, offspring in the store.

    Any offspring whose recipe is known can be made again, its pruned or lost ancestors first.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        folders: Mapping[str, Path],
        pool: Pool,
        resources: Resources,
        observer: Observer,
        needed_elsewhere: Callable[[], set[str]] = set,
    ) -> None:
        """Sweep what killed drivers left in the store, and know where models are.

        Args:
            folders: the folder of the base and of every foundation model by content id.
            resources: what merges leave free.
            needed_elsewhere: the content ids whose weights other runs need.
        """
        make_folder(store.root)
        store.sweep()
        self.store = store
        self.resources = resources
        self._folders = folders
        self._pool = pool
        self._options = config.merge.options
        self._seconds = config.execution.timeout_seconds
        self._observer = observer
        self._needed_elsewhere = needed_elsewhere
        self._recipes: dict[str, Recipe] = {}

    def remember(self, models: Iterable[Model]) -> None:
        """Learn recipes, so that any ancestor can be made again."""
        for model in models:
            if model.candidate is not None:
                self._recipes[model.content_id] = model.candidate.recipe

    def folder(self, content_id: str) -> Path:
        """Where the weights of a content id are or will be."""
        return self._folders.get(content_id) or self.store.path(f"models/{content_id}")

    def at_hand(self, model: Model) -> bool:
        """Whether nothing is to be merged for it."""
        return model.candidate is None or self.store.holds(f"models/{model.content_id}")

    def obtain(self, model: Model) -> Path:
        """The folder of a model with its weights; pruned or lost ones are made again.

        Raises:
            CandidateError: a merge failed.
            StoppedError: they are not what they were, or the disk has no room for them.
        """
        self.make(model)
        return self.folder(model.content_id)

    def make(self, model: Model) -> bool:
        """Have the weights of a model made; whether they were there already.

        Raises:
            CandidateError, StoppedError: as `obtain`.
        """
        if model.candidate is None:
            return True
        return self._made(
            model.candidate.recipe, partial(self._observer.on_progress, model.name, "merge")
        )

    def _made(self, recipe: Recipe, progress: Progress) -> bool:
        def build(into: Path) -> None:
            for each in recipe.inputs:
                if each in self._recipes:
                    self._made(self._recipes[each], progress)
            self.resources.check_disk(1)
            self._pool.start("merge", "score")
            operation = merge(recipe, self._options, self.folder, into, self._seconds)
            self._pool.run(operation, progress)

        return self.store.obtain(f"models/{recipe.id}", build, lambda: self._pool.closed).reused

    def prune(self, state: RunState) -> None:
        """Let go of the weights that neither this run nor another one of the folder needs."""
        wanted = {state.models[name].content_id for name in needed(state)}
        gone = {state.models[name].content_id for name in unneeded(state)} - wanted
        if gone:
            gone -= self._needed_elsewhere()
        for content_id in sorted(gone):
            self.store.prune(f"models/{content_id}", *WEIGHTS)
