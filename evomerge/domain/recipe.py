"""A recipe: everything that determines the weights of a merge."""

from __future__ import annotations

from functools import cached_property
from operator import not_
from typing import Any, Literal

from pydantic import Field

from evomerge.domain.identity import content_id
from evomerge.domain.value import Value

RECIPE_VERSION = 1
WEIGHT = "weight"
"""The parameter of a parent that scales its task vector."""


class Ingredient(Value):
    """A parent of a merge: its content id and its own parameters."""

    model: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Recipe(Value):
    """A merge in mergekit's vocabulary, with content ids instead of paths.

    Attributes:
        method: mergekit's merge method.
        parents: in merge order (SLERP's t is not symmetric, DARE draws a mask per parent).
        base: content id of mergekit's `base_model`: the first parent for SLERP and linear merges,
            the base model of the run for methods over task vectors.
        parameters: of the merge, in mergekit's format: a list of numbers is a gradient over the
            layers, a list of `{filter, value}` selects by tensor name.
        tokenizer: `union`, `base`, a content id, or None to copy the base's.
        seed: of random merge methods, None for the others.
        fragment: further keys of a mergekit configuration (`method: mergekit`).
        options: merge options that can change the output and are not the default.
        disentangled: the child is the base plus a weighted sum of the task vectors that `method`
            has disentangled once for these parents (`task_vectors`), not solved with every merge.
        calibration: content id of the items and the text that `method` learns from, if it does; the
            parents' `tasks` are those that each answers for.
        engine: name and version of what executes the recipe, such as `mergekit 0.1.5`.
    """

    method: str
    parents: tuple[Ingredient, ...] = Field(min_length=1)
    base: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    dtype: str | None = None
    tokenizer: str | None = None
    chat_template: str | None = None
    seed: int | None = None
    fragment: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    # Left out where it is false, so that ids and files of earlier versions stay what they are.
    disentangled: bool = Field(default=False, exclude_if=not_)
    calibration: str | None = Field(default=None, exclude_if=not_)
    engine: str
    version: Literal[1] = 1

    @cached_property
    def id(self) -> str:
        """The content id of the merged model."""
        return content_id("merge", RECIPE_VERSION, self.model_dump(exclude={"version"}))

    @cached_property
    def task_vectors(self) -> str | None:
        """The content id of the disentangled task vectors that are summed; None if none are.

        Neither the weights nor the order of the parents matter for it.
        """
        if not self.disentangled:
            return None
        return content_id(
            "task_vectors", RECIPE_VERSION, self.of_task_vectors.model_dump(exclude={"version"})
        )

    @property
    def of_task_vectors(self) -> Recipe:
        """What determines `task_vectors`: parents by content id, without weights."""
        parents = [
            Ingredient(
                model=parent.model,
                parameters={k: v for k, v in parent.parameters.items() if k != WEIGHT},
            )
            for parent in sorted(self.parents, key=lambda parent: parent.model)
        ]
        shared = self.model_dump(exclude={"parents", "chat_template", "disentangled"})
        return Recipe(parents=tuple(parents), **shared)

    @property
    def rows(self) -> tuple[str, ...]:
        """The models that a set of task vectors has a folder of: the parents by content id.

        And the base, last, if children may have another vocabulary. A parent that is the base has
        no task vector.
        """
        parents = sorted({parent.model for parent in self.parents} - {self.base})
        return tuple(parents) if self.tokenizer is None else (*parents, self.base)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The distinct content ids that the merge reads.

        The parents, the base, the tokenizer's model and the calibration, or the base and
        `task_vectors`.
        """
        if self.task_vectors is not None:
            return self.base, self.task_vectors
        tokenizer = [] if self.tokenizer in {None, "union", "base"} else [self.tokenizer]
        ids = [*(parent.model for parent in self.parents), self.base, *tokenizer, self.calibration]
        return tuple(dict.fromkeys(each for each in ids if each is not None))
