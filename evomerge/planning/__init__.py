"""Estimates before a run: merges, evaluations, disk, memory, hours, cost. Pure."""

from __future__ import annotations

from evomerge.planning.advice import advice
from evomerge.planning.models import ModelFacts, Where
from evomerge.planning.projections import (
    Durations,
    ProjectedGeneration,
    Projection,
    first_generation,
    projections_of,
)
from evomerge.planning.rates import Rate, Rates, Record, known_rates
from evomerge.planning.requirements import Plan, Range, child_size, make_plan, with_alternative

__all__ = [
    "Durations",
    "ModelFacts",
    "Plan",
    "ProjectedGeneration",
    "Projection",
    "Range",
    "Rate",
    "Rates",
    "Record",
    "Where",
    "advice",
    "child_size",
    "first_generation",
    "known_rates",
    "make_plan",
    "projections_of",
    "with_alternative",
]
