"""The progress of a search by generation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evomerge.analysis.stages import Point
from evomerge.domain.lineage import merge_gain
from evomerge.domain.model import Model
from evomerge.domain.population import rank
from evomerge.domain.state import RunState


@dataclass(frozen=True)
class Step:
    """The state of the search at the end of one generation.

    Attributes:
        best: the best model so far.
        born: the scored models of this generation, in proposal order.
        pool: names of the pool S, best first; for an open generation, of the models scored so far.
        pool_score: mean score of the pool in points.
        pool_kinship: mean kinship over all pairs of the pool; None if a pair has none.
        pool_kinship_error: half the width of its interval if pairs are estimated; else None.
    """

    generation: int
    best: Model
    born: tuple[Model, ...]
    pool: tuple[str, ...]
    pool_score: float
    pool_kinship: float | None
    pool_kinship_error: float | None = None


def steps(state: RunState) -> tuple[Step, ...]:
    """One `Step` per generation by which a model has been scored, in order."""
    found: list[Step] = []
    known: list[Model] = []
    for generation in state.generations:
        born = tuple(m for m in state.at_generation(generation.number) if m.scores is not None)
        known = sorted((*known, *(model for model in born if model.selectable)), key=rank)
        if not known:
            continue
        names = generation.pool or tuple(model.name for model in known[: state.k])
        scores = [state.models[name].score or 0.0 for name in names]
        found.append(
            Step(
                generation=generation.number,
                best=known[0],
                born=born,
                pool=names,
                pool_score=math.fsum(scores) / len(scores),
                pool_kinship=state.kinship.mean(names),
                pool_kinship_error=state.kinship.mean_error(names),
            )
        )
    return tuple(found)


def stage_points(state: RunState) -> list[Point]:
    """Input of the stage rule by generation: best child, mean gain and pool kinship."""
    points = []
    for step in steps(state):
        gains = [merge_gain(model, state.models) for model in step.born]
        known = [abs(gain) for gain in gains if gain is not None]
        scores = [model.score for model in step.born if model.selectable]
        score = max((score for score in scores if score is not None), default=None)
        gain = math.fsum(known) / len(known) if known else None
        points.append(Point(step.generation, score, step.pool_kinship, gain))
    return points
