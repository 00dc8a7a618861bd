"""Killed while a run is renamed, removed or unpacked: it is there as a whole, or not at all."""

import os
import shutil
import zipfile
from itertools import count

import pytest
from laboratory import interpose

from evomerge.adapters.bundle import pack, unpack
from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import DamagedError, LockedError, UsageError
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
        path.write_text(
            f"run:\n  name: {name}\n  dir: /elsewhere\n  seed: 1\n"
            "notify:\n  command:\n  - rm\n  - -rf\n  events: [end]\nmerge: {}\n"
        )
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


def kills(two, tmp_path, act, every=1):
    """The runs folder after a kill at each, or each so-manieth, change that `act` makes."""
    for number in count(1, every):
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
    assert not [*store.temporary.glob("*")]
    return artefacts(runs)


def test_a_renamed_run_is_the_same_under_its_new_name(runs):
    before = digest(runs, "one")
    renamed = rename(RunDirectory(runs / "one"), "uno")
    assert [each.name for each in list_runs(runs)] == ["two", "uno"]
    assert fold(renamed.read()).start.name == "uno"
    assert digest(runs, "uno") == before
    assert faults(renamed) == []
    assert renamed.config.read_text() == (
        "run:\n  name: uno\n  dir: /elsewhere\n  seed: 1\n"
        "notify:\n  command:\n  - rm\n  - -rf\n  events: [end]\nmerge: {}\n"
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
    before, tried = digest(two / "runs", "one"), 0
    for runs in kills(two, tmp_path, lambda runs: rename(RunDirectory(runs / "one"), "uno")):
        (run,) = (each for each in list_runs(runs) if each.name != "two")
        assert run.name in {"one", "uno"}
        assert digest(runs, run.name) == before
        assert faults(run) == []
        assert find_run(str(run.config), runs).name == run.name
        tried += 1
    assert tried >= 4


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
    left, tried = collected(clean), 0
    for runs in kills(
        two, tmp_path, lambda runs: removal_of(RunDirectory(runs / "one")).carry_out(), every=7
    ):
        assert faults(RunDirectory(runs / "two")) == []
        if RunDirectory(runs / "one").exists:
            assert faults(RunDirectory(runs / "one")) == []
            removal_of(RunDirectory(runs / "one")).carry_out()
        assert [each.name for each in list_runs(runs)] == ["two"]
        assert collected(runs) == left
        tried += 1
    assert tried >= 10


@pytest.fixture(scope="module")
def bundled(two):
    file = two / "one.zip"
    pack(RunDirectory(two / "runs/one"), file)
    return file


def test_a_bundle_unpacks_to_the_same_run(two, bundled, tmp_path):
    run = unpack(bundled, tmp_path / "runs", "uno")
    state, before = fold(run.read()), fold(RunDirectory(two / "runs/one").read())
    assert decision_digest(state) == decision_digest(before)
    assert state.start.name == "uno"
    assert run.config.read_text() == (
        f"run:\n  name: uno\n  dir: {tmp_path / 'runs'}\n  seed: 1\nnotify: null\nmerge: {{}}\n"
    ), "who was told there is not told here"
    inspected = verify(state, Store(run.store))
    assert {each.verdict for each in inspected} == {"whole", "pruned"}
    assert verify_links(run, state, Store(run.store)) != []
    assert faults(run) == []
    assert sorted(path.name for path in run.generations.iterdir()) == sorted(
        path.name for path in (two / "runs/one/generations").iterdir()
    )
    for model in state.models.values():
        name = f"evaluations/{model.content_id}/{model.scores.evaluation_id}"
        assert holding(run.path.parent / "store" / name) == holding(two / "runs/store" / name)


def holding(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_is_the_same_to_the_byte_wherever_it_is_made(two, bundled, tmp_path):
    unpack(bundled, tmp_path / "runs")
    again = tmp_path / "again.zip"
    pack(RunDirectory(tmp_path / "runs/one"), again)
    config = "run/config.yaml"  # has the folder
    with zipfile.ZipFile(bundled) as a, zipfile.ZipFile(again) as b:
        assert {x.filename: x.CRC for x in a.infolist() if x.filename != config} == {
            x.filename: x.CRC for x in b.infolist() if x.filename != config
        }
    pack(RunDirectory(two / "runs/one"), tmp_path / "twice.zip")
    assert (tmp_path / "twice.zip").read_bytes() == bundled.read_bytes()


def test_with_weights_the_best_is_whole(two, tmp_path):
    run = RunDirectory(two / "runs/one")
    best = next(m for m in fold(run.read()).ranking if m.merged)
    pack(run, tmp_path / "weights.zip", best.content_id)
    there = unpack(tmp_path / "weights.zip", tmp_path / "runs")
    store = Store(there.store)
    assert store.holds(f"models/{best.content_id}")
    whole = [
        each.name
        for each in (store.root / "models").iterdir()
        if store.holds(f"models/{each.name}")
    ]
    assert whole == [best.content_id]


@pytest.mark.parametrize("retention", ["all", "pool", "best"])
def test_a_run_over_task_vectors_is_whole_without_them(tmp_path, retention):
    config = landscape_config(
        strategy={"name": "seed_grid"},
        merge={"method": "wudi"},
        stopping=[{"max_generations": 2}],
        retention=retention,
    )
    run_landscape(tmp_path, config)
    pack(RunDirectory(tmp_path / "runs/landscape"), tmp_path / "run.zip")
    run = unpack(tmp_path / "run.zip", tmp_path / "there")
    assert faults(run) == []
    assert not (run.store / "task_vectors").exists()


def test_what_the_store_has_stays(runs, bundled):
    before = artefacts(runs)
    inodes = {each.stat().st_ino for each in (runs / "store").rglob("*") if each.is_file()}
    unpack(bundled, runs, "uno")
    assert artefacts(runs) == before
    after = {each.stat().st_ino for each in (runs / "store").rglob("*") if each.is_file()}
    assert inodes <= after
    assert faults(RunDirectory(runs / "two")) == []


def test_an_unfinished_run_goes_on_where_it_was_unpacked(two, tmp_path):
    root = tmp_path / "stopped"
    shutil.copytree(two, root, symlinks=True)
    run = RunDirectory(root / "runs/one")
    lines = run.journal.read_bytes().splitlines(keepends=True)
    run.journal.write_bytes(b"".join(lines[:-6]) + lines[-6][:20])
    pack(run, tmp_path / "open.zip")
    unpack(tmp_path / "open.zip", tmp_path / "there/runs")
    shutil.copytree(two / "foundation", tmp_path / "there/foundation")
    config = landscape_config(run={"name": "one", "seed": 0}, stopping=[{"max_generations": 2}])
    state = run_landscape(tmp_path / "there", config, accept_drift=True)
    assert state.finished
    assert [m.name for m in state.ranking] == [
        m.name for m in fold(RunDirectory(two / "runs/one").read()).ranking
    ]


def test_a_name_that_exists_is_refused_with_the_command(runs, bundled):
    with pytest.raises(UsageError, match="there is already a run") as refused:
        unpack(bundled, runs)
    assert f"--as one-2 --dir {runs}" in refused.value.remedy
    with pytest.raises(UsageError, match="exists already"):
        pack(RunDirectory(runs / "one"), bundled)


def changed(bundled, to, **members):
    """A copy of the bundle with other members: bytes, or None to leave one out."""
    with zipfile.ZipFile(bundled) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            if info.filename not in members:
                new.writestr(info, old.read(info))
        for name, content in members.items():
            if content is not None:
                new.writestr(name, content)
    return to


@pytest.mark.parametrize(
    "name",
    [
        "../outside", "/tmp/outside", "run/../../outside", "store/../outside/a/b", "run/lock",
        "store/models/../../../outside", "run/plots/a/b", "store/tmp/a/b", "run\\..\\outside",
        "store/models/merge1-0/../x", "elsewhere/journal.jsonl", "run//journal.jsonl", "run/x\n",
        "store/models/foreign/model.safetensors", "store/kinship/foreign/x.sample",
    ],
)  # fmt: skip
def test_a_member_that_is_not_of_its_run_is_refused(bundled, tmp_path, name):
    file = changed(bundled, tmp_path / "bad.zip", **{name: b"x"})
    with pytest.raises(DamagedError):
        unpack(file, tmp_path / "runs")
    assert list_runs(tmp_path / "runs") == []
    assert sorted(each.name for each in tmp_path.iterdir()) in (["bad.zip"], ["bad.zip", "runs"])


def test_a_link_is_refused(bundled, tmp_path):
    link = zipfile.ZipInfo("run/report.html")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    file = changed(bundled, tmp_path / "bad.zip")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DamagedError, match="nothing was unpacked"):
        unpack(file, tmp_path / "runs")


def test_damage_is_refused_and_leaves_nothing(bundled, tmp_path):
    with zipfile.ZipFile(bundled) as archive:
        names = archive.namelist()
        scores = next(name for name in names if name.endswith("scores.json"))
        other = archive.read(scores).replace(b"0", b"1")
        journal = archive.read("run/journal.jsonl")
    for members in (
        {scores: other},
        {"run/journal.jsonl": journal.replace(b"ash", b"oak", 1)},
        {"run/journal.jsonl": None},
    ):
        file = changed(bundled, tmp_path / "bad.zip", **members)
        with pytest.raises(DamagedError):
            unpack(file, tmp_path / "runs")
        assert list_runs(tmp_path / "runs") == []
    torn = tmp_path / "torn.zip"
    torn.write_bytes(bundled.read_bytes()[:-100])
    with pytest.raises(DamagedError, match="not a zip"):
        unpack(torn, tmp_path / "runs")
    for content in ({"bundle.json": b'{"format": 1}'}, {"bundle.json": None}):
        with pytest.raises(UsageError, match="not a bundle"):
            unpack(changed(bundled, tmp_path / "none.zip", **content), tmp_path / "runs")
    newer = changed(bundled, tmp_path / "new.zip", **{"bundle.json": b'{"format": 9, "run": "x"}'})
    with pytest.raises(UsageError, match="newer evomerge"):
        unpack(newer, tmp_path / "runs")
    for name in ("my.yaml", "empty"):
        (tmp_path / name).write_text("run: {name: x}\n" if name == "my.yaml" else "")
        with pytest.raises(UsageError, match="not a bundle"):
            unpack(tmp_path / name, tmp_path / "runs")
    with pytest.raises(UsageError, match="No such file"):
        unpack(tmp_path / "missing.zip", tmp_path / "runs")


def test_killed_while_it_is_unpacked(two, bundled, tmp_path):
    tried = 0
    root = tmp_path / "killed"
    for number in range(1, 5000, 17):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        if not killed(root, number, lambda: unpack(bundled, root / "runs")):
            break
        tried += 1
        for run in list_runs(root / "runs"):
            assert faults(run) == []
            shutil.rmtree(run.path)
        if (root / "runs/store").is_dir():
            assert collected(root / "runs") == set(), "no half of it is left"
        run = unpack(bundled, root / "runs")
        assert faults(run) == []
        assert digest(root / "runs", "one") == digest(two / "runs", "one")
    assert tried >= 10
    assert faults(RunDirectory(root / "runs/one")) == []


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
