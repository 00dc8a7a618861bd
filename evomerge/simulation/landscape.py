"""A synthetic landscape: task vectors with interference, and noisy evaluations.

Models are vectors of D = 64 · n coordinates for n tasks. Skill t is a sparse random direction. The
task vector of specialist i is its own skill, plus a direction common to all fine-tunes, minus the
other skills (interference), plus noise. The true score on a task is logistic in the projection on
the skill minus a penalty for the squared norm of the remaining movement. Each of the m items has
a fixed difficulty, so that models tend to fail the same items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evomerge.domain.identity import derived_seed
from evomerge.domain.recipe import Recipe

Vector: TypeAlias = NDArray[np.float64]

METHODS = ("slerp", "linear", "task_arithmetic", "ties", "dare_ties", "dare_linear")
COORDINATES = 64
_SPARSE = 0.15  # share of the coordinates that a skill touches
_COMMON, _NOISE = 0.35, 0.45  # norms relative to that of the skill
_STEEP, _HALF = 6.0, 0.5  # slope and midpoint of the logistic curve
_OVERSHOOT = 0.35  # weight of the penalty in the logit


@dataclass(frozen=True)
class LandscapeSettings:
    """Parameters of a synthetic landscape.

    Attributes:
        models: number of foundation models and tasks; each model is a specialist in one task.
        interference: how much a specialist loses of each other skill; 0 is none, 0.3 is strong.
        items: number of items per task in an evaluation.
    """

    models: int = 5
    interference: float = 0.1
    items: int = 300


class SyntheticLandscape:
    """A landscape drawn from a seed."""

    def __init__(self, settings: LandscapeSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        rng = np.random.default_rng(derived_seed("world", seed))
        self.size = COORDINATES * settings.models
        self._skills = _skills(rng, settings.models, self.size)
        self._items = rng.uniform(size=(settings.models, settings.items))
        self.foundation = self._specialists(rng)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the foundation models."""
        return tuple(f"model-{number}" for number in range(1, self.settings.models + 1))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(f"skill-{number}" for number in range(1, self.settings.models + 1))

    def _specialists(self, rng: np.random.Generator) -> tuple[Vector, ...]:
        common = _unit(rng.normal(size=self.size))
        models = []
        for skill in self._skills:
            others = self._skills.sum(axis=0) - skill
            noise = _unit(rng.normal(size=self.size) * (rng.uniform(size=self.size) < 2 * _SPARSE))
            strength = rng.uniform(0.9, 1.15)
            vector = skill + _COMMON * common + _NOISE * noise
            models.append(strength * (vector - self.settings.interference * others))
        return tuple(models)

    def true_scores(self, vector: Vector) -> Vector:
        """The expected score on each task, in points, shape (tasks,)."""
        return 100.0 * self._ability(vector)

    def answers(self, vector: Vector) -> NDArray[np.bool_]:
        """Which items are solved, shape (tasks, items)."""
        return self._items < self._ability(vector)[:, None]

    def _ability(self, vector: Vector) -> Vector:
        """The expected share of solved items, shape (tasks,)."""
        has = self._skills @ vector
        rest = vector - has @ self._skills
        excess = max(0.0, float(rest @ rest) - 1.0) + float(np.sum(np.maximum(0, has - 1.3) ** 2))
        logits = _STEEP * (has - _HALF) - _OVERSHOOT * excess
        with np.errstate(over="ignore"):  # for very negative logits the result is 0
            ability: Vector = 1.0 / (1.0 + np.exp(-logits))
        return ability


def merged(recipe: Recipe, parents: list[Vector]) -> Vector:
    """The child of a recipe, with a base at the origin.

    slerp, linear, task arithmetic, TIES (arXiv 2306.01708) and DARE (arXiv 2311.03099). Of filters
    the default is used, of gradients the last value.

    Raises:
        ValueError: the merge method is not supported.
    """
    rows = np.stack(parents)
    own = [ingredient.parameters for ingredient in recipe.parents]
    weights = np.array([_number(each.get("weight", 1.0)) for each in own])
    match recipe.method:
        case "slerp":
            t = _number(recipe.parameters.get("t", 0.5))
            return _slerp(rows[0], rows[1], t)
        case "linear" | "task_arithmetic":
            return _sum(weights, rows, recipe)
        case "ties":
            kept = np.stack(
                [_trimmed(row, _density(each)) for row, each in zip(rows, own, strict=True)]
            )
            return _elected(weights, kept, recipe)
        case "dare_ties" | "dare_linear":
            rng = np.random.default_rng(recipe.seed or 0)
            kept = np.stack(
                [_dropped(row, _density(each), rng) for row, each in zip(rows, own, strict=True)]
            )
            if recipe.method == "dare_linear":
                return _sum(weights, kept, recipe)
            return _elected(weights, kept, recipe)
    raise ValueError(f"the simulation has no merge method {recipe.method!r}")


def _number(value: object) -> float:
    if isinstance(value, list):
        return _number(value[-1])
    if isinstance(value, dict):
        return _number(value.get("value", 1.0))
    return float(value) if isinstance(value, int | float) else 1.0


def _density(parameters: dict[str, object]) -> float:
    return _number(parameters.get("density", 1.0))


def _sum(weights: Vector, rows: Vector, recipe: Recipe) -> Vector:
    total = weights @ rows
    if recipe.parameters.get("normalize", False):
        total = total / weights.sum()
    return np.asarray(total * _number(recipe.parameters.get("lambda", 1.0)))


def _elected(weights: Vector, kept: Vector, recipe: Recipe) -> Vector:
    """TIES: per coordinate, the sum over parents that agree with the sign of the weighted sum."""
    weighted = weights[:, None] * kept
    agree = np.sign(weighted) == np.sign(weighted.sum(axis=0))
    total = (weighted * agree).sum(axis=0)
    if recipe.parameters.get("normalize", False):
        share = (np.abs(weights)[:, None] * (agree & (kept != 0))).sum(axis=0)
        total = np.divide(total, share, out=np.zeros_like(total), where=share > 0)
    return np.asarray(total * _number(recipe.parameters.get("lambda", 1.0)))


def _trimmed(row: Vector, density: float) -> Vector:
    count = max(1, round(density * row.size))
    threshold = np.partition(np.abs(row), row.size - count)[row.size - count]
    return np.where(np.abs(row) >= threshold, row, 0.0)


def _dropped(row: Vector, density: float, rng: np.random.Generator) -> Vector:
    return np.where(rng.uniform(size=row.size) < density, row / density, 0.0)


def _slerp(a: Vector, b: Vector, t: float) -> Vector:
    """Linear interpolation, since the angle between the whole weights of fine-tunes is tiny."""
    return (1.0 - t) * a + t * b


def _skills(rng: np.random.Generator, count: int, size: int) -> Vector:
    """Sparse, nearly orthogonal unit vectors, shape (count, size)."""
    rows = rng.normal(size=(count, size)) * (rng.uniform(size=(count, size)) < _SPARSE)
    basis, _ = np.linalg.qr(rows.T)
    mixed = 0.9 * np.stack([_unit(row) for row in rows]) + 0.1 * basis.T
    return np.stack([_unit(row) for row in mixed])


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / np.linalg.norm(vector))
