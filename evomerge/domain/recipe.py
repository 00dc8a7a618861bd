"""A recipe: everything that determines the weights of one merge, and nothing else."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from evomerge.domain.identity import content_id
from evomerge.domain.value import Value

RECIPE_VERSION = 1


class Ingredient(Value):
    """One parent of a merge: its content id and the parameters that apply to it alone."""

    model: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Recipe(Value):
    """How to make one model, in mergekit's vocabulary with content ids in the place of paths.

    Attributes:
        method: the merge method as mergekit names it.
        parents: in merge order; it matters (SLERP's t is not symmetric, DARE draws per parent).
        base: content id of the `base_model`: for SLERP and linear merges the first parent, for
            methods over task vectors the base model of the run.
        parameters: of the whole merge; a list is a gradient over depth, a list of
            `{filter, value}` selects by tensor name, as in mergekit's configuration.
        tokenizer: `union`, `base`, a content id, or None to copy the base's.
        seed: of methods that draw at random, None for the others.
        fragment: further keys of a mergekit configuration, as the user wrote them.
        options: options of the merge that change a weight or a file and are not the default.
        engine: what executes the recipe, with its version: `mergekit 0.1.5`.
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
    engine: str
    version: Literal[1] = 1

    @cached_property
    def id(self) -> str:
        """The content id of the model that this recipe makes."""
        return content_id("merge", RECIPE_VERSION, self.model_dump(exclude={"version"}))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The content ids that a merge reads, each once: parents, base, the tokenizer's model."""
        tokenizer = [] if self.tokenizer in {None, "union", "base"} else [self.tokenizer]
        ids = [*(parent.model for parent in self.parents), self.base, *tokenizer]
        return tuple(dict.fromkeys(each for each in ids if each is not None))
