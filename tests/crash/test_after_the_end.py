"""Killed at any change while a run is renamed or removed: it is there as a whole, or not at all."""

import os
import shutil

import pytest
from laboratory import interpose

from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import LockedError, UsageError
from evomerge.domain.state import fold
from evomerge.store.artefacts import KINDS, Store
from evomerge.store.gc_roots import states_of, unreferenced
from evomerge.store.removal import removal_of
from evomerge.store.renaming import rename
from evomerge.store.run_directory import RunDirectory, find_run, list_runs
from evomerge.store.verification import verify, verify_links
from evomerge.testing.landscape_run import landscape_config, run_landscape


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two runs that share their foundation models."""
    root = tmp_path_factory.mktemp("two")
    for seed, name in enumerate(("one", "two")):
        run_landscape(
            root,
            landscape_config(
                run={"name": name, "seed": seed},
                stopping=[{"max_generations": 2}],
            ),
        )
        path = root / "runs" / name / "config.yaml"
        path.write_text(f"run:\n  name: {name}\n  dir: /elsewhere\n  seed: 1\nmerge: {{}}\n")
    return root


@pytest.fixture
def runs(two, tmp_path):
    return copied(two, tmp_path / "copy")


def copied(root, to):
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(root, to, symlinks=True)
    return to / "runs"


def killed(folder, number, act):
    """Do `act` in a process that is killed at its `number`th change; whether it was."""
    child = os.fork()
    if not child:
        try:
            interpose.watch(str(folder), kill_at=number, torn=True)
            act()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 9


def kills(two, tmp_path, act):
    """The runs folder after a kill at the first, the second, … change, until there are no more."""
    number = 0
    while True:
        number += 1
        runs = copied(two, tmp_path / "killed")
        if not killed(tmp_path / "killed", number, lambda runs=runs: act(runs)):
            return
        yield runs


def faults(run):
    state, store = fold(run.read()), Store(run.store)
    found = [*verify(state, store), *verify_links(run, state, store)]
    return [problem for each in found for problem in each.problems]


def digest(runs, name):
    return decision_digest(fold(RunDirectory(runs / name).read()))


def artefacts(runs):
    return {
        f"{kind}/{each.name}"
        for kind in KINDS
        if (runs / "store" / kind).is_dir()
        for each in (runs / "store" / kind).iterdir()
    }


def collected(runs):
    """What is left in the store after `evomerge gc --yes`."""
    store = Store(runs / "store")
    store.sweep()
    for each in unreferenced(states_of(runs), store):
        each.free(store)
    assert not [*store.temporary.iterdir()]
    return artefacts(runs)


def test_a_renamed_run_is_the_same_under_its_new_name(runs):
    before = digest(runs, "one")
    renamed = rename(RunDirectory(runs / "one"), "uno")
    assert [each.name for each in list_runs(runs)] == ["two", "uno"]
    assert fold(renamed.read()).start.name == "uno"
    assert digest(runs, "uno") == before
    assert faults(renamed) == []
    assert renamed.config.read_text() == (
        "run:\n  name: uno\n  dir: /elsewhere\n  seed: 1\nmerge: {}\n"
    )
    assert find_run(str(renamed.config), runs).path == renamed.path, "wherever its text leads"
    again = run_landscape(runs.parent, landscape_config(run={"name": "uno", "seed": 0}))
    assert again.finished


@pytest.mark.parametrize("name", ["two", "store", "a/b", "", ".", "..", "a b", "-x", "con"])
def test_a_name_that_is_taken_or_invalid_is_refused(runs, name):
    with pytest.raises(UsageError):
        rename(RunDirectory(runs / "one"), name)
    assert [each.name for each in list_runs(runs)] == ["one", "two"]


def test_a_run_that_goes_on_stays(runs):
    run = RunDirectory(runs / "one")
    child = os.fork()
    if not child:
        with run.locked():
            os.kill(os.getpid(), 19)  # SIGSTOP
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    try:
        with pytest.raises(LockedError, match="another process"):
            rename(run, "uno")
        with pytest.raises(LockedError, match="another process"):
            removal_of(run)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert [each.name for each in list_runs(runs)] == ["one", "two"]


def test_killed_while_it_is_renamed(two, tmp_path):
    before, count = digest(two / "runs", "one"), 0
    for runs in kills(two, tmp_path, lambda runs: rename(RunDirectory(runs / "one"), "uno")):
        (run,) = (each for each in list_runs(runs) if each.name != "two")
        assert run.name in {"one", "uno"}
        assert digest(runs, run.name) == before
        assert faults(run) == []
        assert find_run(str(run.config), runs).name == run.name
        count += 1
    assert count >= 4


def test_only_what_no_other_run_has_is_freed(runs):
    before, run = artefacts(runs), RunDirectory(runs / "one")
    removal = removal_of(run)
    assert run.exists, "a dry run changes nothing"
    removal.carry_out()
    assert [each.name for each in list_runs(runs)] == ["two"]
    gone = before - artefacts(runs)
    assert gone == {each.name for each in removal.artefacts}
    assert gone, "the two runs differ"
    assert 0 < removal.shared < len(artefacts(runs)), "the other run has some of its own"
    assert removal.freed > removal.size > 0
    assert faults(RunDirectory(runs / "two")) == []
    assert collected(runs) == artefacts(runs), "nothing is left for gc"


def test_killed_while_it_is_removed(two, tmp_path):
    clean = copied(two, tmp_path / "clean")
    removal_of(RunDirectory(clean / "one")).carry_out()
    left, count = collected(clean), 0
    for runs in kills(
        two, tmp_path, lambda runs: removal_of(RunDirectory(runs / "one")).carry_out()
    ):
        assert faults(RunDirectory(runs / "two")) == []
        if RunDirectory(runs / "one").exists:
            assert faults(RunDirectory(runs / "one")) == []
            removal_of(RunDirectory(runs / "one")).carry_out()
        assert [each.name for each in list_runs(runs)] == ["two"]
        assert collected(runs) == left
        count += 1
    assert count >= 20


def test_a_baseline_of_another_run_stays(tmp_path):
    for name, strategy in (("grid", "seed_grid"), ("later", "greedy")):
        config = landscape_config(
            run={"name": name, "seed": 1},
            strategy={"name": strategy},
            stopping=[{"max_generations": 1}],
        )
        run_landscape(tmp_path, config)
    grid = RunDirectory(tmp_path / "runs/grid")
    with pytest.raises(UsageError, match="baseline of later") as refused:
        removal_of(grid)
    assert "evomerge rm later" in refused.value.remedy
    removal_of(RunDirectory(tmp_path / "runs/later")).carry_out()
    removal_of(grid).carry_out()
    assert list_runs(tmp_path / "runs") == []


def test_a_run_whose_journal_is_damaged_can_be_removed(runs):
    run = RunDirectory(runs / "one")
    run.journal.write_text("no journal\n")
    removal = removal_of(run)
    assert removal.artefacts == ()
    removal.carry_out()
    assert [each.name for each in list_runs(runs)] == ["two"]
    before = artefacts(runs)
    assert collected(runs) < before, "gc finds what was only its"
    assert faults(RunDirectory(runs / "two")) == []
