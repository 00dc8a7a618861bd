"""The operations that a config asks for; `ARCHITECTURE.md` has the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evomerge.config import EvaluationConfig, MergeOptions
from evomerge.domain.kinship import Pair
from evomerge.domain.recipe import Recipe
from evomerge.domain.scores import Split
from evomerge.ports import Operation


def check(recipe: Recipe, options: MergeOptions) -> Operation:
    """Judge a recipe without its inputs: method, keys, parameters, ranges, options."""
    return Operation(kind="check", arguments=_of_recipe(recipe, options))


def merge(
    recipe: Recipe,
    options: MergeOptions,
    folder: Callable[[str], Path],
    into: Path,
    seconds: float | None = None,
) -> Operation:
    """Write the complete model of `recipe` into the empty folder `into`.

    Args:
        options: a recipe's own `options` come over them.
        folder: where the weights of a content id are.
        seconds: it may take at most.
    """
    return Operation(
        kind="merge",
        arguments=_of_recipe(recipe, options),
        inputs={each: folder(each) for each in recipe.inputs},
        into=into,
        seconds=seconds,
    )


def describe(evaluation: EvaluationConfig, options: MergeOptions) -> Operation:
    """Load and check the tasks, and say what a score of each split rests on."""
    return Operation(kind="describe", arguments=_of_evaluation(evaluation, options))


def score(
    evaluation: EvaluationConfig,
    options: MergeOptions,
    split: Split,
    model: Path,
    into: Path,
    seconds: float | None = None,
) -> Operation:
    """Score the model in folder `model` on one split of the items; per-item logs go to `into`."""
    return Operation(
        kind="score",
        arguments={**_of_evaluation(evaluation, options), "split": split},
        inputs={"model": model},
        into=into,
        seconds=seconds,
    )


def measure(
    base: str,
    models: Sequence[str],
    pairs: Sequence[Pair],
    folder: Callable[[str], Path],
    exclude: Sequence[str],
    passes: Path,
) -> Operation:
    """Read the kinship of `pairs` from the weights that no stored pass tells of.

    Args:
        base: content id of the base model.
        models: those of `pairs`, each once, by content id.
        folder: where the weights of a content id are.
        exclude: patterns of tensor names that are left out.
        passes: folder of the stored passes over this base; grows, never changes.
    """
    arguments = {
        "base": base,
        "models": list(models),
        "pairs": [list(pair) for pair in pairs],
        "exclude": list(exclude),
        "passes": str(passes.resolve()),
    }
    inputs = {each: folder(each) for each in (base, *models)}
    return Operation(kind="measure", arguments=arguments, inputs=inputs)


def sample(
    base: str, models: Sequence[str], folder: Callable[[str], Path], passes: Path
) -> Operation:
    """Keep a sample of the weights of models, for estimates of their kinship.

    Args:
        base, models: content ids.
        folder: where the weights of a content id are.
        passes: folder of the stored passes over this base, where samples lie too.
    """
    return Operation(
        kind="sample",
        arguments={"base": base, "models": list(models), "passes": str(passes.resolve())},
        inputs={each: folder(each) for each in (base, *models)},
    )


def _of_recipe(recipe: Recipe, options: MergeOptions) -> dict[str, Any]:
    return {"recipe": recipe.model_dump(mode="json"), "options": options.model_dump(mode="json")}


def _of_evaluation(evaluation: EvaluationConfig, options: MergeOptions) -> dict[str, Any]:
    # Folders of task files are relative to the working directory, which a worker may not share.
    include = tuple(path.expanduser().resolve() for path in evaluation.include)
    sent = evaluation.model_copy(update={"include": include})
    return {
        "evaluation": sent.model_dump(mode="json"),
        "trust_remote_code": options.trust_remote_code,
        "allow_pickle": options.allow_pickle,
    }
