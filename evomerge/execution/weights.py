"""The weights of a run's models: locating, recreating and pruning them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from evomerge.config import Config
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.model import Model
from evomerge.domain.recipe import Recipe
from evomerge.domain.retention import needed, needed_task_vectors, task_vectors, unneeded
from evomerge.domain.state import RunState
from evomerge.execution.calibration import id_of
from evomerge.execution.operations import disentangle, merge
from evomerge.execution.pool import Pool
from evomerge.execution.resources import Resources
from evomerge.ports import HostedProgress, Observer, Operation
from evomerge.store.artefacts import CALIBRATION, TASK_VECTORS, WEIGHTS, Store
from evomerge.store.atomic import make_folder


class Weights:
    """The folders of foundation models and, in the store, of offspring.

    Any offspring with a known recipe can be recreated, after its missing ancestors.

    Attributes:
        hosts: where the weights that were made since the start were, by content id.
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
        calibrate: Callable[[Path], Operation] | None = None,
    ) -> None:
        """Delete what killed drivers left in the store, and index the folders.

        Args:
            folders: the folders of the base and all foundation models by content id.
            resources: limits on disk and memory.
            needed_elsewhere: returns the content ids whose weights other runs need.
            calibrate: the operation that writes what merges learn from into a folder.
        """
        make_folder(store.root)
        store.sweep()
        self.store = store
        self.resources = resources
        self._folders = dict(folders)
        self._pool = pool
        self._options = config.merge.options
        self._seconds = config.execution.timeout_seconds
        self._observer = observer
        self._needed_elsewhere = needed_elsewhere
        self._calibrate = calibrate
        self._recipes: dict[str, Recipe] = {}
        self._pruned: set[str] = set()
        self.hosts: dict[str, str] = {}

    def remember(self, models: Iterable[Model]) -> None:
        """Record recipes, so that any ancestor can be recreated."""
        for model in models:
            if model.candidate is not None:
                self._recipes[model.content_id] = model.candidate.recipe

    def folder(self, content_id: str) -> Path:
        """The folder of a content id's weights, whether or not it exists."""
        return self._folders.get(content_id) or self.store.path(f"models/{content_id}")

    def available(self, model: Model) -> bool:
        """Whether the model needs no merge."""
        return model.candidate is None or self.store.holds(f"models/{model.content_id}")

    def obtain(self, model: Model) -> Path:
        """The folder of a model's weights, which are recreated if they are missing.

        Raises:
            CandidateError: a merge failed.
            StoppedError: recreated weights differ, or the disk has no space for them.
        """
        self.make(model)
        return self.folder(model.content_id)

    def make(self, model: Model) -> bool:
        """Create the weights of a model; returns whether they existed already.

        Raises:
            CandidateError, StoppedError: as `obtain`.
        """
        if model.candidate is None:
            return True
        return self._made(
            model.candidate.recipe, partial(self._observer.on_progress, model.name, "merge")
        )

    def _made(self, recipe: Recipe, progress: HostedProgress) -> bool:
        def build(into: Path) -> None:
            self._make_inputs(recipe, progress)
            self.resources.check_disk(1)
            self._pool.start("merge", "score")
            operation = merge(recipe, self._options, self.folder, into, self._seconds)
            _, self.hosts[recipe.id] = self._pool.run_near("", operation, progress)

        made = self.store.obtain(f"models/{recipe.id}", build, lambda: self._pool.closed)
        self._pruned.discard(recipe.id)
        return made.reused

    def _make_inputs(self, recipe: Recipe, progress: HostedProgress) -> None:
        """Make the missing ancestors of a merge, or the task vectors that it sums."""
        for each in recipe.inputs:
            if each in self._recipes:
                self._made(self._recipes[each], progress)
        if recipe.calibration is not None and recipe.calibration in recipe.inputs:
            self._make_calibration(recipe.calibration)
        if recipe.task_vectors is None:
            return

        def build(into: Path) -> None:
            self._make_inputs(recipe.of_task_vectors, progress)
            self.resources.check_disk(len(recipe.rows))
            self._pool.start("merge", "score")
            operation = disentangle(recipe, self._options, self.folder, into, self._seconds)
            self._pool.run(operation, progress)

        name = f"{TASK_VECTORS}/{recipe.task_vectors}"
        made = self.store.obtain(name, build, lambda: self._pool.closed)
        self._folders[recipe.task_vectors] = made.path
        self._pruned.discard(recipe.task_vectors)

    def _make_calibration(self, content_id: str) -> None:
        """Write what merges learn from, unless it is there."""

        def build(into: Path) -> None:
            if self._calibrate is None:
                raise CandidateError("nothing here can choose items to learn from")
            operation = self._calibrate(into)
            try:
                answer = self._pool.run(operation)
            except PreflightError as error:  # the tasks are loaded again
                raise CandidateError(error.message, error.remedy) from None
            if id_of(answer["calibration"], operation.arguments["anchor"]) != content_id:
                raise CandidateError("a task, its data or the anchor changed during the run")

        made = self.store.obtain(f"{CALIBRATION}/{content_id}", build, lambda: self._pool.closed)
        self._folders[content_id] = made.path

    def prune(self, state: RunState) -> None:
        """Prune weights that neither this run nor another one of the runs folder needs."""
        if state.retention == "all":
            return
        vectors = task_vectors(state).keys()
        gone = {state.models[name].content_id for name in unneeded(state)}
        gone |= vectors - needed_task_vectors(state)
        gone -= self._pruned
        if not gone:
            return
        gone -= {state.models[name].content_id for name in needed(state)}
        gone -= self._needed_elsewhere()
        for content_id in sorted(gone):
            kind = TASK_VECTORS if content_id in vectors else "models"
            self.store.prune(f"{kind}/{content_id}", *WEIGHTS)
            self._pruned.add(content_id)

    def room(self, offspring: Iterable[Model]) -> int:
        """How many models' room on disk the merges of `offspring` take, with their task vectors."""
        missing = [each for each in offspring if each.candidate and not self.available(each)]
        recipes = [each.candidate.recipe for each in missing if each.candidate]
        vectors = {
            each.task_vectors: len(each.rows)
            for each in recipes
            if each.task_vectors is not None
            and not self.store.holds(f"{TASK_VECTORS}/{each.task_vectors}")
        }
        return len(recipes) + sum(vectors.values())
