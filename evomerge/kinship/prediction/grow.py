"""Children added to a Gram matrix: each alone (`conceive`), then all of one wave (`grow`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evomerge.domain.recipe import Recipe
from evomerge.kinship.passes import Floats
from evomerge.kinship.prediction.rules import LINEAR, Flags, coefficients, doubtful, row_of
from evomerge.kinship.prediction.sample import Sample
from evomerge.kinship.prediction.settings import Rule, UnpredictableError
from evomerge.kinship.prediction.survey import GROUPS, extend, mean_products, regress
from evomerge.kinship.statistics import Statistics

REFITTED = "refitted"
"""In the place of a method: the factors are those of `refit`."""


@dataclass(frozen=True, eq=False)
class Child:
    """One child: by its factors alone, or replayed on the samples of its inputs.

    Attributes:
        rows: the Gram rows of its inputs, and of the base.
        factors: over all Gram rows, [tensors, 2 + models]; needed without a sample.
        dtype: in which it is written; `rules.ANY_DTYPE` where that is not known.
        random: its merge drew at random.
        doubtful: tensors of which mergekit may round otherwise, [tensors]; None: of none.
    """

    id: str
    method: str
    rows: tuple[int, ...]
    factors: Floats | None
    sample: Sample | None
    dtype: str
    random: bool = False
    doubtful: Flags | None = None


@dataclass(frozen=True, eq=False)
class Grown:
    """Gram arrays with children: the estimate, the jackknife's, and the factors of the children.

    `replicates` is [groups, tensors, rows, rows], or of size 0 where nothing is sampled;
    `factors` is [tensors, children, rows before].
    """

    gram: Floats
    replicates: Floats
    factors: Floats = field(repr=False)


def conceive(
    statistics: Statistics, samples: Mapping[str, Sample], recipe: Recipe, dtype: str
) -> Child:
    """The child of a recipe whose inputs are known.

    Raises:
        UnpredictableError: it cannot be told from what is known.
    """
    rule = Rule.of(recipe)
    rows = tuple(sorted({1, *(row_of(statistics, model) for model in rule.inputs)}))
    factors = None
    if rule.method in LINEAR:
        factors = coefficients(statistics, rule, recipe.dtype or dtype)
    out_dtype = recipe.fragment.get("out_dtype")
    written = out_dtype or recipe.dtype or dtype
    if not {statistics.base, *rule.inputs} <= set(samples):
        if factors is None:
            raise UnpredictableError(f"{rule.method} can be told from samples of weights only")
        return Child(recipe.id, rule.method, rows, factors, None, written)
    # Here, since it imports torch and mergekit.
    from evomerge.kinship.prediction.replay import replay

    sample = replay(
        rule,
        samples,
        dtype=recipe.dtype,
        out_dtype=out_dtype,
        seed=recipe.seed,
        factors=_by_input(statistics, rule, factors) if rule.method == "slerp" else None,
    )
    drawn = recipe.seed is not None and factors is None
    unsure = doubtful(statistics, rule)
    return Child(recipe.id, rule.method, rows, factors, sample, sample.dtype, drawn, unsure)


def _by_input(
    statistics: Statistics, rule: Rule, factors: Floats | None
) -> dict[str, list[float]] | None:
    """The factors of the inputs themselves; together they are 1 + that of the base's row."""
    if factors is None:
        return None
    result = {}
    for index, tensor in enumerate(statistics.tensors):
        held = [factors[index, row_of(statistics, model)] for model in rule.inputs]
        if statistics.base in rule.inputs:
            place = rule.inputs.index(statistics.base)
            held[place] = 1 + factors[index, 1] - (sum(held) - held[place])
        result[tensor.name] = [float(factor) for factor in held]
    return result


def grow(
    statistics: Statistics,
    replicates: Floats,
    samples: Mapping[str, Sample],
    children: Sequence[Child],
) -> Grown:
    """Add children none of which is the parent of another.

    Args:
        replicates: those of `statistics`, or of size 0.
        samples: of the base and the models, by id; empty: linear predictions only.
    """
    if not any(child.sample is not None for child in children) and not replicates.size:
        factors = np.stack([_required(child) for child in children], axis=1)
        gram = extend(statistics.gram, factors)
        return Grown(gram, np.empty(0), factors)
    known = replicates if replicates.size else np.repeat(statistics.gram[None], GROUPS, axis=0)
    gram = np.concatenate([statistics.gram[None], known])
    width = gram.shape[-1]
    means = mean_products(
        statistics.tensors,
        samples[statistics.base],
        [*(samples.get(model) for model in statistics.models), *(one.sample for one in children)],
        random=any(child.random for child in children),
    )
    factors = np.stack(
        [
            _required(child)
            if child.sample is None
            else regress(means[0], child.rows, width + index)[..., :width]
            for index, child in enumerate(children)
        ],
        axis=1,
    )
    linear = extend(means[..., :width, :width], factors)
    rest = means - linear
    rest[..., :width, :width] = 0
    for index, child in enumerate(children):
        if child.sample is None:
            rest[..., width + index, :] = 0
            rest[..., :, width + index] = 0
    counts = np.array([tensor.count for tensor in statistics.tensors], np.float64)
    grown = extend(gram, factors) + counts[:, None, None] * rest
    return Grown(grown[0], grown[1:], factors)


def _required(child: Child) -> Floats:
    if child.factors is None:
        raise UnpredictableError(f"{child.method} has no factors")
    return child.factors
