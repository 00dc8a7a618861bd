"""A real run that is over: no secret and no pickle in it, weights rebuilt, damage found."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from evomerge.domain.digest import decisions
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


def rounded(runs: Path) -> object:
    """What was decided, kinship to nine digits: measured in other passes it differs by an ulp."""
    covered = decisions(state_of(runs))
    covered["kinship"] = [
        {key: value if key == "models" else round(value, 9) for key, value in each.items()}
        for each in covered["kinship"]
    ]
    return covered


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
    assert rounded(copy) == rounded(finished[0])
