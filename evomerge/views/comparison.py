"""A comparison of runs as it is shown: its arms, and the course of every run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evomerge.comparison.arms import Arm, Spread
from evomerge.comparison.compared import Comparison
from evomerge.domain.skills import Skills, skills_of
from evomerge.views.intervals import half_width
from evomerge.views.outcome import Gain, gain_of
from evomerge.views.tasks import TaskChange, changes_of


@dataclass(frozen=True)
class ComparedRun:
    """One run of an arm: its best model, and that model's scores in points.

    Attributes:
        error: half of the 95 % interval of `score`; `held_out_error` likewise.
        median: whether it is the median run of its arm.
    """

    name: str
    seed: int
    model: str
    score: float
    error: float | None
    held_out: float | None
    held_out_error: float | None
    median: bool


@dataclass(frozen=True)
class ArmRow:
    """An arm; what is of one model is of the best model of its median run.

    Attributes:
        label: what differs from the other arms, in words.
        score, held_out: over its runs; None if one has none. `error` and `held_out_error` are half
            of the 95 % interval of a single run's, None with repeats.
        gain: over the best foundation model of its run.
        tasks: against the specialist on each task.
        work_hours: without reuse: work that was reused counts with the time that it took where it
            was done; None if no journal beside the runs has that time.
        spent_hours: time of its drivers.
        ended_by: the criterion that ended the median run; None while it goes on.
    """

    label: str
    runs: tuple[ComparedRun, ...]
    model: str
    score: Spread
    error: float | None
    held_out: Spread | None
    held_out_error: float | None
    gain: Gain | None
    skills: Skills | None
    tasks: tuple[TaskChange, ...]
    evaluations: Spread
    merges: Spread
    reused: Spread
    work_hours: Spread | None
    spent_hours: Spread | None
    ended_by: str | None


@dataclass(frozen=True)
class CoursePoint:
    """A run after one more evaluation: what it has spent, and its best score so far."""

    arm: str
    run: str
    seed: int
    median: bool
    evaluations: int
    merges: int
    hours: float | None
    model: str
    score: float | None


def arms_of(comparison: Comparison) -> tuple[ArmRow, ...]:
    """The arms of a comparison, in their order."""
    return tuple(map(_arm, comparison.arms))


def course_of(comparison: Comparison) -> tuple[CoursePoint, ...]:
    """The course of every run, arm by arm."""
    return tuple(
        CoursePoint(
            arm.label,
            member.name,
            member.seed,
            member is arm.median,
            point.evaluations,
            point.merges,
            None if point.work is None else point.work / 3600,
            point.best.name,
            point.best.score,
        )
        for arm in comparison.arms
        for member in arm.members
        for point in member.course
    )


def _arm(arm: Arm) -> ArmRow:
    median, best = arm.median, arm.median.best
    stop, runs = median.state.stop, tuple(_runs(arm))
    single = len(runs) == 1
    return ArmRow(
        arm.label,
        runs,
        best.name,
        arm.score,
        runs[0].error if single else None,
        arm.held_out,
        runs[0].held_out_error if single else None,
        gain_of(median.state, best),
        skills_of(median.state, best),
        changes_of(median.state, best),
        _counted(member.state.evaluations for member in arm.members),
        _counted(member.state.merges for member in arm.members),
        _counted(member.reused for member in arm.members),
        _hours(member.course[-1].work for member in arm.members),
        _hours(member.state.seconds for member in arm.members),
        None if stop is None else stop.partition(":")[0].replace("_", " "),
    )


def _runs(arm: Arm) -> Iterable[ComparedRun]:
    for member in arm.members:
        held_out = member.best.estimate("held_out")
        yield ComparedRun(
            member.name,
            member.seed,
            member.best.name,
            member.score,
            half_width(member.best.stderr),
            held_out and held_out.value,
            half_width(held_out.stderr) if held_out else None,
            member is arm.median,
        )


def _counted(values: Iterable[int]) -> Spread:
    spread = Spread.of(values)
    assert spread is not None, "an arm has a member"  # noqa: S101
    return spread


def _hours(seconds: Iterable[float | None]) -> Spread | None:
    return Spread.of(None if each is None else each / 3600 for each in seconds)
