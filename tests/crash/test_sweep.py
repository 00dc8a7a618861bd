"""A sample of the sweep: every kind of interruption, every kind of place.

`scripts/crash_sweep` tries all of them.
"""

from collections import defaultdict

import pytest
from laboratory import tracing
from laboratory.sweep import (
    ACTIONS,
    KILLS,
    count_changes,
    error_cases,
    fault_cases,
    kill_cases,
    met_points,
    power_cases,
    run_cases,
    tear_cases,
)

from evomerge.store.faults import POINTS

SCENARIOS = ("whole", "pruning", "weighing", "resumed")
needs_strace = pytest.mark.skipif(tracing.obstacle() is not None, reason=str(tracing.obstacle()))


def sample(cases, each):
    """Some `each` cases of every group, spread over the run, its first and last one among them."""
    groups = defaultdict(list)
    for case in cases:
        groups[case.group].append(case)
    chosen = []
    for group in groups.values():
        step = max(1, (len(group) - 1) // (each - 1))
        chosen += dict.fromkeys([*group[::step], group[-1]])
    return chosen


def spread(cases, count):
    """About `count` of the cases, spread over the run."""
    return cases[:: len(cases) // count]


@pytest.fixture(scope="module")
def points(scenarios, drivers, tmp_path_factory):
    return {
        name: tracing.points(each, drivers, tmp_path_factory.mktemp("points"))
        for name, each in scenarios.items()
    }


@needs_strace
def test_every_kind_of_change_is_swept(points):
    assert {point.group for each in points.values() for point in each} == set(tracing.CALLS)


@needs_strace
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_a_system_call(name, scenarios, points, tmp_path):
    assert len(points[name]) > 300
    report = run_cases(sample(kill_cases(scenarios[name], points[name]), 3), tmp_path)
    assert not report.failures, str(report)
    assert report.points > 15


@needs_strace
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_full_or_broken_disk_stops_the_run_resumably(name, scenarios, points, tmp_path):
    report = run_cases(sample(error_cases(scenarios[name], points[name]), 2), tmp_path)
    assert not report.failures, str(report)


@pytest.fixture(scope="module")
def met(scenarios, drivers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("met")
    return {name: met_points(each, drivers, folder / name) for name, each in scenarios.items()}


def test_every_named_point_is_reached(met):
    assert set().union(*met.values()) == set(POINTS)


def test_every_named_point_and_every_action(met, scenarios, drivers, tmp_path):
    """A kill at each point, and in turn one of the other ways to end a driver there."""
    kill, *others = ACTIONS
    chosen = []
    for number, point in enumerate(POINTS):
        name = max(met, key=lambda each: met[each].get(point, 0))
        cases = list(fault_cases(scenarios[name], {point: met[name][point]}))
        for action in (kill, others[number % len(others)]):
            own = [case for case in cases if case.name.endswith(f":{action}")]
            chosen.append(own[len(own) // 2])
    assert len(chosen) == len(POINTS) * 2
    report = run_cases(chosen, tmp_path)
    assert not report.failures, str(report)


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_in_the_middle_of_a_write(name, scenarios, drivers, tmp_path):
    scenario = scenarios[name]
    changes = count_changes(scenario, drivers, tmp_path / "count")
    report = run_cases(sample(tear_cases(scenario, changes), 6), tmp_path)
    assert not report.failures, str(report)


def test_the_power_fails_after_kills(scenarios, drivers, tmp_path):
    cases = list(power_cases(scenarios["whole"], drivers, tmp_path, KILLS))
    report = run_cases(spread(cases, 12), tmp_path)
    assert not report.failures, str(report)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_power_fails(name, scenarios, drivers, tmp_path):
    cases = list(power_cases(scenarios[name], drivers, tmp_path))
    assert len(cases) > 1000
    report = run_cases(spread(cases, 10), tmp_path)
    assert not report.failures, str(report)
