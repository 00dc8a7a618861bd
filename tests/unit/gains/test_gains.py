"""What a run gained: over a landscape run with real logs, and in the words of the command."""

import json
import re
import shutil
from importlib import import_module

import pytest
from click.testing import CliRunner

from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import UsageError
from evomerge.domain.objective import MEANINGS, Objective
from evomerge.domain.state import fold
from evomerge.gains import ItemResults, compare, gains_of_best, matches_of_best
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal import differences as words
from evomerge.terminal.summary import result_text
from evomerge.testing.landscape_run import landscape_config, run_landscape

CONFIG = """
run: {name: landscape}
base_model: base
foundation_models: [ash, birch, cedar, dogwood]
merge: {method: dare_ties}
evaluation: {tasks: [task-0, task-1, task-2]}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a landscape run with a config that can be read."""
    root = tmp_path_factory.mktemp("gains")
    run_landscape(root)
    (root / "runs/landscape/config.yaml").write_text(CONFIG)
    return root


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def state_of(root):
    return fold(RunDirectory(root / "runs/landscape").read())


def results(root):
    return ItemResults(Store(root / "runs/store"), {}, lambda model: model.on("held_out"))


def call(root, *arguments):
    command = import_module("evomerge.cli.gain").command
    words = ["landscape", *arguments, "--dir", str(root / "runs")]
    return CliRunner().invoke(command, words, catch_exceptions=False, env={"COLUMNS": "150"})


def test_the_best_is_compared_with_its_parents_where_nothing_is_held_out(tmp_path):
    config = landscape_config(evaluation={"tasks": ["landscape"], "split": "none"})
    state = run_landscape(tmp_path, config)
    assert state.best.on("held_out") is None
    gains = gains_of_best(state, Store(tmp_path / "runs/store"), {})
    against = [each.b for each in gains.comparisons]
    assert gains.split == "selection"
    assert sorted(against[:4]) == ["ash", "birch", "cedar", "dogwood"]
    assert set(against[4:]) == {p for p in state.best.parents if state.models[p].generation}
    assert gains.missing == ()


def test_the_best_is_compared_with_every_foundation_model_on_held_out_items(made):
    state = state_of(made)
    gains = compare(results(made), matches_of_best(state), "held_out", Objective())
    assert sorted(each.b for each in gains.comparisons) == ["ash", "birch", "cedar", "dogwood"]
    assert gains.missing == ()
    for each in gains.comparisons:
        other = state.models[each.b]
        gain = state.best.estimate("held_out").value - other.estimate("held_out").value
        assert each.difference.value == pytest.approx(gain)
        assert each.corrected >= each.difference.p
        assert [task.task for task in each.tasks] == ["task-0", "task-1", "task-2"]


@pytest.mark.parametrize("name", ["worst", "relative", "geometric"])
def test_gains_are_those_of_the_objective_of_the_run(name, tmp_path):
    config = landscape_config(
        evaluation={"tasks": ["landscape"], "objective": name},
        stopping=[{"max_generations": 1}],
    )
    state = run_landscape(tmp_path, config, test_gains=None)
    assert state.start.objective == state.gains.objective == name
    assert state.gains.missing == ()
    entries = RunDirectory(tmp_path / "runs/landscape").read()
    for cut in range(1, len(entries), 5):
        assert fold(entries[cut:], fold(entries[:cut])) == fold(entries), "wherever it is resumed"
    assert f"score is {MEANINGS[name]}" in result_text(state)
    assert re.search(r"skills +\d of 3 kept, held-out items", result_text(state))
    for each in state.gains.comparisons:
        gain = (
            state.models[each.a].estimate("held_out").value
            - state.models[each.b].estimate("held_out").value
        )
        assert each.difference.value == pytest.approx(gain)
        assert each.difference.low <= gain <= each.difference.high


def test_both_ways_say_the_same(made):
    state = state_of(made)
    a, b = state.models["ash"], state.models["birch"]
    there, back = (
        compare(results(made), [(*pair, "model")], "held_out", Objective())
        .comparisons[0]
        .difference
        for pair in ((a, b), (b, a))
    )
    assert there.value == pytest.approx(-back.value)
    assert there.low == pytest.approx(-back.high)
    assert there.p == back.p


def test_a_log_that_is_gone_is_said_and_the_rest_is_compared(copy):
    state = state_of(copy)
    shutil.rmtree(copy / "runs/store/evaluations" / state.models["ash"].content_id)
    gains = compare(results(copy), matches_of_best(state), "held_out", Objective())
    assert "ash" not in [each.b for each in gains.comparisons]
    assert len(gains.missing) == 1
    assert "ash: the store has no per-item results of it" in gains.missing[0]
    shown = call(copy).output
    assert "left out: " in shown
    assert "no per-item results" in shown


def test_the_command_says_it_plainly(made):
    state = state_of(made)
    shown = call(made).output
    best, other = state.best, next(m for m in state.ranking if m.generation == 0)
    gain = best.estimate("held_out").value - other.estimate("held_out").value
    assert f"{best.name} is better than {other.name} by {gain:.1f} points" in shown
    assert "not used for selection" in shown
    assert "p < 0.001" in shown
    assert "Holm" in shown
    assert "task-1" not in shown
    assert "task-1" in call(made, "--by-task").output


def test_the_command_speaks_json(made):
    document = json.loads(call(made, "ash", "birch", "--json").output)
    assert (document["format"], document["run"], document["split"]) == (1, "landscape", "held_out")
    (one,) = document["comparisons"]
    assert (one["a"], one["b"], one["relation"]) == ("ash", "birch", "model")
    assert one["certain"] == (one["corrected"] < 0.05)
    assert one["difference"]["low"] <= one["difference"]["value"] <= one["difference"]["high"]


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["ash"], "two models or none"),
        (["ash", "ash"], "compared with itself"),
        (["ash", "brich"], "no model named 'brich'"),
    ],
)
def test_a_mistake_is_one_line(made, names, fault):
    with pytest.raises(UsageError, match=fault):
        call(made, *names)


def test_the_end_of_a_run_records_it_and_everyone_sees_it(tmp_path):
    """Stopped after any event and resumed, a run ends alike; the digest does not cover it."""
    state = run_landscape(tmp_path, test_gains=None)
    assert decision_digest(state) == decision_digest(run_landscape(tmp_path / "untested"))
    assert state.gains.comparisons[0].a == state.best.name
    line = words.gains_line(state.gains)
    assert line in result_text(state)
    entries = RunDirectory(tmp_path / "runs/landscape").read()
    assert [entry.event.type for entry in entries[-2:]] == ["gains_tested", "run_finished"]
    journal = tmp_path / "runs/landscape/journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    for kept in (len(lines) - 2, len(lines) - 1):
        journal.write_text("".join(lines[:kept]))
        again = run_landscape(tmp_path, test_gains=None)
        assert again.gains == state.gains
        kinds = [entry.event.type for entry in RunDirectory(tmp_path / "runs/landscape").read()]
        assert kinds.count("gains_tested") == 1
    shown = import_module("evomerge.cli.status").command
    output = (
        CliRunner()
        .invoke(shown, ["landscape", "--dir", str(tmp_path / "runs")], env={"COLUMNS": "200"})
        .output
    )
    assert line in output


def test_noise_and_losses_have_words_too(made):
    state = state_of(made)
    one = compare(
        results(made), [(state.best, state.models["ash"], "model")], "selection", Objective()
    ).comparisons[0]
    loss = one.difference.model_copy(update={"value": -3.0, "low": -5.0, "high": -1.0})
    worse = one.model_copy(update={"difference": loss, "corrected": 0.01})
    assert words.verdict_sentence(worse).endswith(
        "is worse than ash by 3.0 points [1.0, 5.0], p = 0.010"
    )
    noise = worse.model_copy(update={"corrected": 0.3})
    assert "the loss of" in words.verdict_sentence(noise)
    assert "may be noise: -3.0 [-5.0, -1.0], p = 0.300" in words.verdict_sentence(noise)
