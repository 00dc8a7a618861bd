"""Recipes of children from their parents and the config's merge section. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.config import (
    Filtered,
    MergeConfig,
    Parameter,
    RawMerge,
    RegmeanMerge,
    WudiMerge,
)
from evomerge.domain.identity import derived_seed
from evomerge.domain.model import Coefficients, Foundation, Model, Proposal
from evomerge.domain.recipe import WEIGHT, Ingredient, Recipe
from evomerge.domain.references import best_by_task

_OVER_WEIGHTS = {"slerp", "linear"}
"""Methods that merge weights; the others merge task vectors."""

_AT_RANDOM = {"dare_ties", "dare_linear", "della", "mergekit"}

_ABLE = 0.5
"""The share of the best foundation model's score at which a model can do a task."""

_OF_THE_RESULT = {"allow_crimes", "trust_remote_code", "device", "threads", "shard_size"}
"""Options that change the output of a merge, for example by rounding."""


@dataclass(frozen=True)
class Breeding:
    """Makes the recipes of a run; the same parents always give the same recipe.

    Attributes:
        seed: the seed of the run.
        engine: name and version of what executes the recipes.
        calibration: content id of what merges learn from, for methods that do.
        holders: returns the scored foundation models, which show what a skill is.
    """

    merge: MergeConfig
    seed: int
    base: Foundation
    foundation: tuple[Foundation, ...]
    engine: str
    calibration: str | None = None
    holders: Callable[[], Sequence[Model]] = tuple

    def recipe(self, proposal: Proposal, parents: Sequence[Model]) -> Recipe:
        """The recipe of the child of `parents`, which are in merge order."""
        if proposal.coefficients is not None:
            return self._over_task_vectors(proposal.coefficients, parents)
        return self.of_config(parents)

    def _over_task_vectors(self, chosen: Coefficients, parents: Sequence[Model]) -> Recipe:
        """The recipe of a merge with weights from the strategy."""
        shared: dict[str, Any] = {"normalize": False, "lambda": 1.0}
        if chosen.method == "wudi" and isinstance(self.merge, WudiMerge):
            shared = {"epsilon": self.merge.parameters.epsilon}
        if isinstance(self.merge, RegmeanMerge) and chosen.method == self.merge.method:
            return self._over_calibration(parents, chosen.weights)
        density = {} if chosen.density is None else {"density": chosen.density}
        return Recipe(
            method=chosen.method,
            parents=tuple(
                Ingredient(model=parent.content_id, parameters={"weight": weight, **density})
                for parent, weight in zip(parents, chosen.weights, strict=True)
            ),
            base=self.base.content_id,
            parameters=shared,
            disentangled=chosen.disentangling is not None,
            **self._common(),
        )

    def _over_calibration(self, parents: Sequence[Model], weights: Sequence[Any]) -> Recipe:
        """The recipe of a merge that learns from items of the tasks."""
        own, shared = self._parameters()
        del shared["anchor"]  # its text is part of the calibration
        tasks_of_each = answering(parents, self.holders())
        return Recipe(
            method=self.merge.method,
            parents=tuple(
                Ingredient(
                    model=parent.content_id,
                    parameters={**own, WEIGHT: weight, "tasks": list(tasks)},
                )
                for parent, weight, tasks in zip(parents, weights, tasks_of_each, strict=True)
            ),
            base=self.base.content_id,
            parameters=shared,
            disentangled=True,
            calibration=self.calibration,
            **self._common(),
        )

    def _common(self) -> dict[str, Any]:
        """The fields of a recipe that do not depend on the merge method."""
        return {
            "dtype": self.merge.dtype,
            "tokenizer": self._tokenizer(),
            "chat_template": self.merge.chat_template,
            "options": self.merge.options.model_dump(exclude_defaults=True, include=_OF_THE_RESULT),
            "engine": self.engine,
        }

    def of_config(self, parents: Sequence[Model]) -> Recipe:
        """The recipe of the child of `parents` with the config's method and parameters."""
        own, shared = self._parameters()
        if isinstance(self.merge, RegmeanMerge):
            return self._over_calibration(parents, [own[WEIGHT]] * len(parents))
        ids = [parent.content_id for parent in parents]
        return Recipe(
            method=self.merge.method,
            parents=tuple(Ingredient(model=each, parameters=own) for each in ids),
            base=ids[0] if self._over_weights() else self.base.content_id,
            parameters=shared,
            seed=self._seed(ids),
            fragment=self.merge.fragment if isinstance(self.merge, RawMerge) else {},
            **self._common(),
        )

    def _over_weights(self) -> bool:
        if isinstance(self.merge, RawMerge):
            return self.merge.base == "first_parent"
        return self.merge.method in _OVER_WEIGHTS

    def _parameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(parameters of each parent, parameters of the merge) in mergekit's format."""
        if isinstance(self.merge, RawMerge):
            return self.merge.parent_parameters, {}
        names = type(self.merge.parameters).model_fields
        values = {
            field.alias or name: spelled(getattr(self.merge.parameters, name))
            for name, field in names.items()
        }
        of_each = self.merge.parameters.of_each_parent
        own = {name: value for name, value in values.items() if name in of_each}
        return own, {name: value for name, value in values.items() if name not in own}

    def _tokenizer(self) -> str | None:
        match self.merge.tokenizer:
            case "copy":
                return None
            case "auto":
                return "union" if self._vocabularies_differ() else None
            case name:
                ids = {model.name: model.content_id for model in self.foundation}
                return ids.get(name, name)

    def _vocabularies_differ(self) -> bool:
        members = (self.base, *self.foundation)
        return len({model.vocabulary for model in members}) > 1

    def _seed(self, parents: Sequence[str]) -> int | None:
        """A seed that depends on the run and the parents, so that siblings have different masks."""
        if self.merge.method not in _AT_RANDOM:
            return None
        return derived_seed("merge", self.seed, *parents)


def answering(
    parents: Sequence[Model], holders: Sequence[Model] = ()
) -> tuple[tuple[str, ...], ...]:
    """The tasks that each of some models answers for: where no other has a better score.

    The scores are those of selection. Equals answer together. A task that none of them can do
    would only be in the way: nobody answers for it, unless there is no other.

    Args:
        holders: models whose best score on a task is that of somebody who can do it.
    """
    best, skilled = best_by_task(parents, "selection"), best_by_task(holders, "selection")
    known = [
        task
        for task, (value, _) in best.items()
        if task not in skilled or value >= _ABLE * skilled[task][0]
    ]
    return tuple(
        tuple(
            task.task
            for task in (parent.scores.tasks if parent.scores else ())
            if task.value == best[task.task][0] and (task.task in known or not known)
        )
        for parent in parents
    )


def spelled(value: Parameter | bool) -> Any:
    """A parameter in mergekit's format: filters become a list that ends with the default."""
    if not isinstance(value, Filtered):
        return value
    chosen = [{"filter": name, "value": each} for name, each in value.filters.items()]
    return [*chosen, {"value": value.default}]
