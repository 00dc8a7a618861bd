"""The sweep sees known bugs, and says what is wrong; without them the same cases pass."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from laboratory.drivers import Drivers
from laboratory.invariants import Scenario, baseline
from laboratory.sweep import (
    PRUNING,
    count_changes,
    fault_cases,
    met_points,
    power_cases,
    run_cases,
    tear_cases,
)

PLANTS = Path(__file__).with_name("planted.py")
RANDOM = ("--strategy", "random")


@pytest.fixture(scope="module")
def drivers():
    with Drivers(PLANTS) as running:
        yield running


def torn(only=""):
    """The driver is killed in the middle of `each`th change."""

    def cases(scenario, drivers, folder, each):
        changes = count_changes(scenario, drivers, folder / "count", only)
        return list(tear_cases(scenario, changes, only=only))[each // 2 :: each]

    return cases


def faults(point):
    """The driver is killed at a named point, three times in a run."""

    def cases(scenario, drivers, folder, each):
        met = met_points(scenario, drivers, folder / "met")
        every = fault_cases(scenario, {point: met[point]})
        return [case for case in every if case.name.endswith("kill")]

    return cases


def power(scenario, drivers, folder, each):
    """The power fails in `each` of the ways; then in those between, until the bug is seen."""
    cases = list(power_cases(scenario, drivers, folder))
    step = len(cases) // each
    offsets = dict.fromkeys((0, step // 2, step // 4, 3 * step // 4))
    return [case for offset in offsets for case in cases[offset::step]]


def killed_then_power(scenario, drivers, folder, each):
    """Killed when the run's folder is created but not synced, resumed; then the power fails."""
    cases = power_cases(scenario, drivers, folder, kills=(4,))
    return [case for case in cases if "journal.jsonl" in case.name][:each]


@pytest.mark.parametrize(
    ("plant", "words", "cases", "each", "reason"),
    [
        ("directory_exists_means_complete", (), torn(), 80, "damaged: model-|No such file"),
        ("event_before_artefact", (), torn(), 90, "recorded but missing: model-"),
        ("torn_tail_is_kept", (), torn("journal.jsonl"), 9, "the journal is damaged"),
        ("unordered_set_in_a_decision", (), torn(), 100, "another digest"),
        ("random_state_in_memory", RANDOM, torn(), 120, "another digest"),
        ("measured_again_on_resume", (), torn(), 120, "twice: model_scored"),
        ("pruned_before_the_event", PRUNING, faults("prune.removed"), 1, "pruned but needed"),
        ("lock_is_never_released", (), torn(), 200, "resume exits with 3: .*driven by another"),
        ("journal_not_synced", (), power, 25, "committed events are lost"),
        ("names_not_synced", (), power, 25, "recorded but|committed events are lost"),
        ("folder_of_a_killed_process_not_synced", (), killed_then_power, 30, "events are lost"),
        ("content_not_synced", (), power, 25, "recorded but damaged"),
    ],
)  # fmt: skip
def test_a_planted_bug_is_caught(drivers, tmp_path, plant, words, cases, each, reason):
    noisy = ("noisy_evaluator",) if plant == "measured_again_on_resume" else ()
    digest = None if noisy else baseline(drivers, tmp_path / "whole", *words)
    sound = Scenario(words, digest, plants=noisy)
    buggy = replace(sound, plants=(*noisy, plant))
    (tmp_path / "cases").mkdir()
    chosen = cases(buggy, drivers, tmp_path / "cases", each)
    report = run_cases(chosen, tmp_path, plants=PLANTS, wanted=reason)
    caught = [fault for found in report.failures.values() for fault in found]
    assert any(re.search(reason, fault) for fault in caught), str(report)


def test_a_noisy_evaluator_is_no_bug(drivers, tmp_path):
    """Recorded scores are reused, so a resumed run need not measure alike."""
    noisy = Scenario(plants=("noisy_evaluator",))
    chosen = torn()(noisy, drivers, tmp_path, 120)[:-2]  # its length varies
    report = run_cases(chosen, tmp_path, plants=PLANTS)
    assert not report.failures, str(report)
