"""The weights of a run's models: where they are, made where they are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.ports import Merger, Progress
from evomerge.store.artefacts import WEIGHTS, Store


class Weights:
    """Foundation models where they lie, offspring in the store.

    Any offspring whose recipe is known can be made again, its pruned or lost ancestors first.
    """

    def __init__(
        self,
        store: Store,
        folders: Mapping[str, Path],
        cancelled: Callable[[], bool],
        warm_up: Callable[[], None],
    ) -> None:
        """Know where the base and the foundation models are.

        Args:
            folders: their folders by content id.
            warm_up: called before something is merged.
        """
        self._store = store
        self._folders = folders
        self._cancelled = cancelled
        self._warm_up = warm_up
        self._recipes: dict[str, Recipe] = {}

    def remember(self, models: Iterable[Model]) -> None:
        """Learn recipes."""
        for model in models:
            if model.candidate is not None:
                self._recipes[model.content_id] = model.candidate.recipe

    def folder(self, content_id: str) -> Path:
        """Where the weights of a content id are or will be."""
        return self._folders.get(content_id) or self._store.path(f"models/{content_id}")

    def at_hand(self, model: Model) -> bool:
        """Whether nothing is to be merged for it."""
        return model.candidate is None or self._store.holds(f"models/{model.content_id}")

    def made(self, recipe: Recipe, merger: Merger, progress: Progress) -> bool:
        """Have the weights of a recipe in the store; whether they were there already."""

        def build(into: Path) -> None:
            for each in recipe.inputs:
                if each in self._recipes:
                    self.made(self._recipes[each], merger, progress)
            self._warm_up()
            inputs = {each: self.folder(each) for each in recipe.inputs}
            merger.merge(recipe, inputs, into, progress)

        return self._store.obtain(f"models/{recipe.id}", build, self._cancelled).reused

    def prune(self, content_ids: Iterable[str]) -> None:
        """Let go of the weights of offspring."""
        for content_id in sorted(content_ids):
            self._store.prune(f"models/{content_id}", *WEIGHTS)
