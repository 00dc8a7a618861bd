"""The result of a comparison."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from evomerge.comparison.arms import Arm, Spread, grouped
from evomerge.comparison.budgets import Budget, best_within, equal_budgets
from evomerge.comparison.comparable import caveats, require_comparable
from evomerge.comparison.divergence import Divergence, divergence
from evomerge.comparison.members import Member
from evomerge.domain.baseline import Baseline
from evomerge.domain.objective import ObjectiveName


@dataclass(frozen=True)
class Versus:
    """One arm against the first arm.

    Attributes:
        points: final best score minus that of the first arm; if both arms ran several common
            seeds, the spread of the differences by seed, else the difference of the medians.
        at_equal: the same at an equal number of evaluations, given by `evaluations`.
        extra_evaluations: number at the end minus the first arm's; the median over seeds.
        paired: seeds that both arms ran.
        divergences: one per common seed, else that of the median runs.
    """

    first: str
    second: str
    points: Spread
    at_equal: Spread | None
    evaluations: int
    extra_evaluations: int
    paired: tuple[int, ...]
    divergences: tuple[Divergence, ...]


@dataclass(frozen=True)
class Comparison:
    """Several runs over the same evaluation.

    Attributes:
        versus: every arm but the first against the first one.
        caveats: one sentence each.
        baseline: the result of merging all foundation models at once, if known.
    """

    arms: tuple[Arm, ...]
    budgets: tuple[Budget, ...]
    versus: tuple[Versus, ...]
    caveats: tuple[str, ...]
    baseline: Baseline | None = None

    @property
    def objective(self) -> ObjectiveName:
        """The objective of all scores, which is that of the first run."""
        return self.arms[0].median.state.start.objective

    @property
    def members(self) -> tuple[Member, ...]:
        """All runs, arm by arm."""
        return tuple(member for arm in self.arms for member in arm.members)


def compare(members: Sequence[Member], baseline: Baseline | None = None) -> Comparison:
    """Compare two or more runs by the objective of the first one.

    Raises:
        IncomparableError: their scores were measured with different settings.
    """
    require_comparable(members)
    first, *others = members
    judged = (each.judged_in(each.state.judged_as(first.state)) for each in others)
    members = [first, *judged]
    arms = grouped(members)
    said = caveats(members)
    said += [
        f"the {len(arm.members)} repeats of {arm.label} made identical decisions: the seed has "
        "no effect, so they count as one"
        for arm in arms
        if arm.alike
    ]
    against = tuple(_versus(arms[0], arm) for arm in arms[1:])
    return Comparison(arms, equal_budgets(arms), against, tuple(said), baseline)


def _versus(first: Arm, second: Arm) -> Versus:
    couples = _couples(first, second)
    evaluations = min(member.state.evaluations for couple in couples for member in couple)
    points = Spread.of(two.score - one.score for one, two in couples)
    at_equal = Spread.of(_ahead(one, two, evaluations) for one, two in couples)
    assert points is not None, "an arm has a member"  # noqa: S101
    return Versus(
        first.label,
        second.label,
        points,
        at_equal,
        evaluations,
        round(
            statistics.median(two.state.evaluations - one.state.evaluations for one, two in couples)
        ),
        tuple(one.seed for one, two in couples if one.seed == two.seed),
        tuple(divergence(one, two) for one, two in couples),
    )


def _couples(first: Arm, second: Arm) -> list[tuple[Member, Member]]:
    """Runs paired by seed; the median runs if no seed is common, or a seed occurs twice."""
    ours = {member.seed: member for member in first.members}
    theirs = {member.seed: member for member in second.members}
    unique = len(ours) == len(first.members) and len(theirs) == len(second.members)
    shared = [seed for seed in ours if seed in theirs] if unique else []
    return [(ours[seed], theirs[seed]) for seed in shared] or [(first.median, second.median)]


def _ahead(one: Member, two: Member, evaluations: int) -> float | None:
    ours = best_within(one, "evaluations", evaluations)
    theirs = best_within(two, "evaluations", evaluations)
    return None if ours is None or theirs is None else theirs - ours
