"""A real run that is over: no secret and no pickle in it, weights rebuilt, damage found."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from evomerge.domain.digest import decisions
from evomerge.domain.kinship import pair
from evomerge.domain.state import RunState, fold
from evomerge.store.journal import read_journal
from tests.conftest import command

from .conftest import CANARY, NAME, TOKENS, small_run

SECRET_ARGUMENT = "argument-9876543210-argument"
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"(dp0", b"cos\nsystem")


def state_of(runs: Path) -> RunState:
    return fold(read_journal(runs / NAME / "journal.jsonl").entries)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it, to be changed."""
    target = tmp_path / "runs"
    shutil.copytree(finished[0], target, symlinks=True)
    return target


def files(runs: Path) -> list[Path]:
    return [path for path in runs.rglob("*") if path.is_file() and not path.is_symlink()]


def test_no_token_is_in_it(finished):
    runs, output = finished
    assert CANARY not in output
    holding = [path for path in files(runs) if CANARY.encode() in path.read_bytes()]
    assert holding == []


@pytest.mark.parametrize(
    "argument",
    [f"token={SECRET_ARGUMENT}", f"hf_token={SECRET_ARGUMENT}", f"api_key={SECRET_ARGUMENT}",
     f"auth={SECRET_ARGUMENT}", f"mytoken={SECRET_ARGUMENT}",
     "variant=hf_argument9876543210argument"],
)  # fmt: skip
def test_a_token_among_the_model_arguments_is_refused_and_not_repeated(argument, tiny, tmp_path):
    done = command(*small_run(tmp_path / "runs", tiny, f"evaluation.model_args.{argument}"))
    assert done.code == 2, done.err
    assert "secret" in done.err
    assert argument.partition("=")[2] not in done.out + done.err
    assert not (tmp_path / "runs").exists()


def test_a_token_that_a_task_prints_does_not_reach_the_logs(tiny, evomerge, tmp_path):
    """A task may run code of its own, where it is allowed to; its output is kept as a log."""
    tasks = tmp_path / "tasks"
    shutil.copytree(tiny / "tasks", tasks)
    (tasks / "utils.py").write_text(
        "import os, sys\n"
        "def prompt(document):\n"
        "    print('out', os.environ['HF_TOKEN'])\n"
        "    print('err', os.environ['HF_TOKEN'], file=sys.stderr)\n"
        "    raise ValueError(os.environ['HF_TOKEN'])\n"
    )
    task = tasks / "tiny_reverse.yaml"
    lines = [line for line in task.read_text().splitlines() if "doc_to_text" not in line]
    task.write_text("\n".join([*lines, "doc_to_text: !function utils.prompt", ""]))
    settings = [f"evaluation.include=[{tasks}]", "evaluation.allow_unsafe=[tiny_reverse]"]
    done = evomerge(*small_run(tmp_path / "runs", tiny, *settings), env=TOKENS)
    assert done.returncode == 3, done.stderr
    assert "tiny_reverse" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert not [path for path in files(tmp_path / "runs") if CANARY.encode() in path.read_bytes()]


def test_nothing_in_it_is_pickled(finished):
    runs, _ = finished
    assert {path.suffix for path in files(runs)} <= {
        ".json", ".jsonl", ".yaml", ".yml", ".safetensors", ".jinja", ".log", ".pass",
        ".sample", "",
    }  # fmt: skip
    for path in files(runs):
        data = path.read_bytes()
        assert not data.startswith(PICKLES), path
        if data.startswith(b"PK"):
            numbers = {".pass": "gram.npy", ".sample": "weights.npy"}[path.suffix]
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                assert sorted(archive.namelist()) == sorted([numbers, "header.npy"])
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                assert {archive[name].dtype.kind for name in archive} <= {"u", "f"}


def pruned(runs: Path) -> dict[str, str]:
    """Models whose weights were let go, by name, with their content ids."""
    return {
        model.name: model.content_id
        for model in state_of(runs).models.values()
        if (runs / "store/models" / model.content_id / "pruned.json").exists()
    }


def test_pruned_weights_are_made_again_byte_for_byte(copy, evomerge):
    gone = pruned(copy)
    best = state_of(copy).best
    assert best.name not in gone
    assert len(gone) == state_of(copy).merges - 1
    name, content_id = max(gone.items())
    folder = copy / "store/models" / content_id
    expected = json.loads((folder / "pruned.json").read_text())["files"]
    assert not (folder / "model.safetensors").exists()

    done = evomerge("rebuild", NAME, name, "--dir", copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder)
    for file, entry in expected.items():
        data = (folder / file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["size"], entry["sha256"])
    assert not (folder / "pruned.json").exists()
    assert command("verify", NAME, "--dir", copy).code == 0


def test_rebuild_refuses_what_it_cannot_make(copy):
    assert command("rebuild", NAME, "reverse", "--dir", copy).code == 2
    done = command("rebuild", NAME, "model-1-9", "--dir", copy)
    assert done.code == 2
    assert "did you mean" in done.err


def test_verify_finds_a_flipped_bit_and_rebuild_mends_it(copy, evomerge):
    best = state_of(copy).best
    weights = copy / "store/models" / best.content_id / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    told = command("verify", NAME, "--dir", copy)
    assert told.code == 3
    assert str(weights) in told.err
    assert "rebuild" in told.err
    assert evomerge("rebuild", NAME, best.name, "--dir", copy).returncode == 0
    assert command("verify", NAME, "--dir", copy).code == 0


def test_gc_shows_an_orphan_and_frees_it(copy):
    orphan = copy / "store/models/merge1-00000000000000000000000000000000"
    best = copy / "store/models" / state_of(copy).best.content_id
    shutil.copytree(best, orphan)
    shown = json.loads(command("gc", "--dir", copy, "--json").out)
    assert [each["name"] for each in shown["artefacts"]] == [f"models/{orphan.name}"]
    assert shown["freed"] is False
    assert shown["bytes"] > 400_000
    assert orphan.exists()
    freed = json.loads(command("gc", "--dir", copy, "--json", "--yes").out)
    assert freed["freed"] is True
    assert not orphan.exists()
    assert best.exists()
    assert json.loads(command("gc", "--dir", copy, "--json").out)["artefacts"] == []


def half_done(runs: Path, lines: int) -> None:
    """Forget what the run recorded after its first `lines` events; the store stays."""
    journal = runs / NAME / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:lines]))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("config.yaml", "seed: 0", "seed: 1"),
        ("config.yaml", "limit: 20", "limit: 21"),
        ("config.yaml", "run:", "run: ["),
    ],
)
def test_a_changed_copy_of_the_config_is_refused(name, old, new, copy):
    half_done(copy, 12)
    path = copy / NAME / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    before = (copy / NAME / "journal.jsonl").read_bytes()
    done = command("resume", NAME, "--dir", copy)
    assert done.code in {2, 3}, done.err
    assert "Traceback" not in done.err
    assert (copy / NAME / "journal.jsonl").read_bytes() == before


def test_a_config_that_is_gone_is_named(copy):
    half_done(copy, 12)
    (copy / NAME / "config.yaml").unlink()
    done = command("resume", NAME, "--dir", copy)
    assert done.code in {2, 3}
    assert "config.yaml" in done.err


def test_damage_all_over_the_store_ends_in_the_same_decisions(copy, finished, evomerge):
    """Passes, remembered digests, evaluations and weights: caches, all of them."""
    half_done(copy, 12)
    store = copy / "store"
    passes = sorted(store.glob("kinship/*/*.*"))
    for number, path in enumerate(passes):
        data = path.read_bytes()
        path.write_bytes((data[:100], b"", bytes(255 - byte for byte in data))[number % 3])
    digests = store / "digests.json"
    digests.write_text(digests.read_text().replace("a", "b", 3))
    for number, path in enumerate(sorted(store.glob("evaluations/merge*/*/scores.json"))):
        path.write_bytes((b"", b"{}", path.read_bytes().replace(b"1", b"2"))[number % 3])
    for path in sorted(store.glob("models/*/model.safetensors")):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    done = evomerge("resume", NAME, "--dir", copy)
    assert done.returncode == 0, done.stderr
    assert decisions(state_of(copy)) == decisions(state_of(finished[0])), "to the last bit"


def test_what_no_decision_read_is_estimated_and_can_be_measured(copy, evomerge):
    """Of models whose weights were let go too: their samples were kept."""
    state = state_of(copy)
    scored = [model.name for model in state.ranking]
    pairs = {pair(*each) for each in combinations(scored, 2)}
    assert set(state.readings) < pairs, "only what decisions read is in the journal"
    gone = pruned(copy)
    base = copy / "store/kinship" / state.start.base.content_id
    for model in state.ranking:
        assert (base / f"{model.content_id}.sample").exists()

    def table(*options):
        done = evomerge("kinship", NAME, "--dir", copy, "--json", *options)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        place = {name: index for index, name in enumerate(told["models"])}
        cells = {each: (place[each[0]], place[each[1]]) for each in pairs}
        values = {each: told["pcc"][i][j] for each, (i, j) in cells.items()}
        estimated = {
            each for each, (i, j) in cells.items() if told["errors"]["pcc"][i][j] is not None
        }
        return values, estimated, done.stderr

    values, estimated, _ = table()
    assert estimated == pairs - set(state.readings)
    assert all(values[each] == pytest.approx(r.pcc) for each, r in state.readings.items())
    exact, left, said = table("--exact")
    assert "evomerge rebuild" in said
    assert left == {each for each in estimated if set(each) & set(gone)}
    again, *others = sorted(gone)
    assert evomerge("rebuild", NAME, again, "--dir", copy).returncode == 0
    exact, left, _ = table("--exact")
    assert left == {each for each in estimated if set(each) & set(others)} < estimated
    assert all(exact[each] == pytest.approx(values[each], abs=1e-6) for each in pairs)
    assert table()[1] == left, "what was measured once is kept"
    assert decisions(state_of(copy)) == decisions(state)


def test_views_show_estimates_and_the_digest_does_not_know_them(copy):
    state = state_of(copy)
    digest = command("digest", NAME, "--dir", copy).out
    status = json.loads(command("status", NAME, "--dir", copy, "--json").out)
    for generation in status["generations"]:
        known = all(pair(*each) in state.readings for each in combinations(generation["pool"], 2))
        assert generation["pool_kinship"] is not None
        assert (generation["pool_kinship_error"] is None) == known
    best = state.best.name
    shown = json.loads(command("show", NAME, best, "--dir", copy, "--json").out)
    assert set(shown["kinship"]) == {model.name for model in state.ranking} - {best}
    measured = {name for each in state.readings if best in each for name in each} - {best}
    assert set(shown["kinship_errors"]) == set(shown["kinship"]) - measured
    assert "closest kin" in command("show", NAME, best, "--dir", copy).out
    assert command("digest", NAME, "--dir", copy).out == digest
