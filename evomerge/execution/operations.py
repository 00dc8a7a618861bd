"""Builders of the operations that a config needs; `ARCHITECTURE.md` has the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evomerge.config import EvaluationConfig, MergeOptions
from evomerge.domain.kinship import Pair
from evomerge.domain.recipe import Recipe
from evomerge.domain.scores import Split
from evomerge.ports import Operation

_NONE: Mapping[str, str] = MappingProxyType({})


def check(recipe: Recipe, options: MergeOptions) -> Operation:
    """Validate a recipe without its inputs: method, keys, parameters, ranges, options."""
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
        options: defaults, which the recipe's own `options` override.
        folder: maps a content id to the folder of its weights.
        seconds: time limit.
    """
    return Operation(
        kind="merge",
        arguments=_of_recipe(recipe, options),
        inputs={each: folder(each) for each in recipe.inputs},
        into=into,
        seconds=seconds,
    )


def disentangle(
    recipe: Recipe,
    options: MergeOptions,
    folder: Callable[[str], Path],
    into: Path,
    seconds: float | None = None,
) -> Operation:
    """Write the `task_vectors` of `recipe` into the empty folder `into`; see `merge`.

    Merges of recipes that have them read them from there, as the folder of their content id.
    """
    return merge(recipe.of_task_vectors, options, folder, into, seconds).model_copy(
        update={"kind": "disentangle"}
    )


def describe(
    evaluation: EvaluationConfig,
    options: MergeOptions,
    data_sets: Mapping[str, str] = _NONE,
    examples: int = 0,
) -> Operation:
    """Load and check the tasks, and describe what the scores of each split depend on.

    Args:
        data_sets: the hub commits of the data sets to use; others are used at their newest one.
        examples: number of each task's items to be shown with the description.
    """
    arguments = _of_evaluation(evaluation, options, data_sets)
    if examples:
        arguments["examples"] = examples
    return Operation(kind="describe", arguments=arguments)


def probe(evaluation: EvaluationConfig, options: MergeOptions, model: Path) -> Operation:
    """Find the batch size for an evaluation with the model in folder `model`."""
    arguments = _of_evaluation(evaluation, options)
    return Operation(kind="probe", arguments=arguments, inputs={"model": model})


def score(
    evaluation: EvaluationConfig,
    options: MergeOptions,
    split: Split,
    model: Path,
    into: Path,
    seconds: float | None = None,
    data_sets: Mapping[str, str] = _NONE,
) -> Operation:
    """Score the model in folder `model` on one split; per-item logs go to `into`.

    With the selection split perplexity is measured too, if the evaluation has a guard.
    """
    return Operation(
        kind="score",
        arguments={**_of_evaluation(evaluation, options, data_sets), "split": split},
        inputs={"model": model},
        into=into,
        seconds=seconds,
    )


def calibrate(
    evaluation: EvaluationConfig,
    options: MergeOptions,
    anchor: str | None,
    base: Path,
    into: Path,
    seconds: float | None = None,
    data_sets: Mapping[str, str] = _NONE,
) -> Operation:
    """Write what merges learn from (`calibration`) into the empty folder `into`.

    Args:
        anchor: a plain text, if there is one.
        base: the folder of the base, whose chat template is used.
    """
    return Operation(
        kind="calibrate",
        arguments={**_of_evaluation(evaluation, options, data_sets), "anchor": anchor},
        inputs={"model": base},
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
    """Measure the kinship of `pairs`; reads only weights whose products no stored pass has.

    Args:
        base: content id of the base model.
        models: content ids of all models in `pairs`, without duplicates.
        folder: maps a content id to the folder of its weights.
        exclude: patterns of tensor names to leave out.
        passes: folder of the stored passes over this base; files are only added.
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
    """Store samples of models' weights, for estimates of their kinship.

    Args:
        base, models: content ids.
        folder: maps a content id to the folder of its weights.
        passes: folder of the stored passes over this base, which also holds the samples.
    """
    return Operation(
        kind="sample",
        arguments={"base": base, "models": list(models), "passes": str(passes.resolve())},
        inputs={each: folder(each) for each in (base, *models)},
    )


def _of_recipe(recipe: Recipe, options: MergeOptions) -> dict[str, Any]:
    return {"recipe": recipe.model_dump(mode="json"), "options": options.model_dump(mode="json")}


def _of_evaluation(
    evaluation: EvaluationConfig, options: MergeOptions, data_sets: Mapping[str, str] = _NONE
) -> dict[str, Any]:
    # Relative paths are resolved here: a worker may have another working directory.
    include = tuple(path.expanduser().resolve() for path in evaluation.include)
    guard = evaluation.guard and evaluation.guard.anchored(Path.cwd())
    sent = evaluation.model_copy(update={"include": include, "guard": guard})
    return {
        "evaluation": sent.model_dump(mode="json"),
        "trust_remote_code": options.trust_remote_code,
        "allow_pickle": options.allow_pickle,
        "merges_on_gpu": options.on_gpu,
        **({"data_sets": dict(data_sets)} if data_sets else {}),
    }
