"""Names and paths that would leave the run's folder: refused, and nothing is written outside."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from evomerge.testing.landscape import VECTOR
from tests.conftest import command

from .conftest import resume, run_of, state_of
from .damage import remove

NAMES = [
    "../x", "../../x", "..", ".", "/abs", "a/b", "a\\b", "a\0b", "a\nb", "nul", "CON", "com1.txt",
    "x" * 65, "x" * 300, "trailing.", "trailing ", " leading", "store", "STORE", "~", "~root",
    "-rf", ".hidden", "é", "ｓｔｏｒｅ", "a\u202eb", "a\u200bb", "．．", "a:b",
    "$HOME", "%2e%2e", "*",
]  # fmt: skip

GOOD = """\
run: {name: NAME, dir: DIR}
base_model: ./base
foundation_models: [./one, ./two]
merge: {method: ties}
evaluation: {tasks: [TASK]}
"""


def tree(folder: Path) -> dict[str, object]:
    """Everything below `folder`: what it is, its size and when it changed."""
    return {
        str(path.relative_to(folder)): (status.st_mode, status.st_size, status.st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        for status in [path.lstat()]
    }


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing may be written into, with a file that nothing may change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    (folder / VECTOR).write_text("[1.0]")
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spelt", ["file", "override"])
def test_a_name_of_a_run_is_the_name_of_a_folder_everywhere(
    name: str, spelt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    config = home / "config.yaml"
    quoted = json.dumps(name)
    text = GOOD.replace("TASK", "t").replace("DIR", str(tmp_path / "runs"))
    config.write_text(text.replace("NAME", quoted if spelt == "file" else "fine"))
    before = tree(tmp_path)
    told = command("run", config, *(["--set", f"run.name={quoted}"] if spelt == "override" else []))
    assert told.code == 2, told
    assert "run.name" in told.err or "U+" in told.err
    assert "Traceback" not in told.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["../t", "/etc/t", "a/b", "a/../../b", "x" * 200, "t\0", "..", "a b", "é", "a::b/c"]
)
def test_the_name_of_a_task_holds_no_path(name: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        GOOD.replace("TASK", json.dumps(name))
        .replace("DIR", str(tmp_path / "runs"))
        .replace("NAME", "fine")
    )
    before = tree(tmp_path)
    told = command("run", config)
    assert told.code == 2, told
    assert "evaluation.tasks.0" in told.err or "U+" in told.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["../x", "/abs", "..", "a/b", "nul", "x" * 65, "model-1-1", "union"]
)
def test_the_short_name_of_a_model_is_a_file_name(name: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    text = GOOD.replace("TASK", "t").replace("DIR", str(tmp_path / "runs")).replace("NAME", "fine")
    config.write_text(text.replace("./one", f"{{model: ./one, name: {json.dumps(name)}}}"))
    before = tree(tmp_path)
    assert command("run", config).code == 2
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", NAMES)
def test_no_command_takes_a_name_for_a_path_that_it_writes(
    name: str, whole: Path, copy_of: Callable[[Path], Path]
) -> None:
    root = copy_of(whole)
    before = tree(root)
    for words in (
        ["status", name],
        ["show", name, "model-1-1"],
        ["show", "landscape", name],
        ["tree", "landscape", name],
        ["verify", name],
        ["digest", name],
        ["resume", name],
        ["rebuild", name, "model-1-1"],
        ["rebuild", "landscape", name],
    ):
        if words[0] != "status" and words[1].startswith("-"):
            continue
        told = command(words[0], "--dir", root / "runs", "--", *words[1:])
        assert told.code in {2, 3}, (words, told)
        assert "Traceback" not in told.err
    assert tree(root) == before


# A journal that an attacker wrote -----------------------------------------------------------------


def forged(root: Path, change: Callable[[dict[str, object]], None], *kinds: str) -> None:
    """Change the events of these kinds in the journal, and sign each line anew."""
    journal = run_of(root) / "journal.jsonl"
    lines = []
    for line in journal.read_bytes().splitlines():
        record = json.loads(line)
        del record["crc"]
        if record["event"]["type"] in kinds:
            change(record["event"])
        body = json.dumps(record, ensure_ascii=False, separators=(",", ":"))[:-1].encode()
        lines.append(body + f',"crc":"{zlib.crc32(body):08x}"}}\n'.encode())
    journal.write_bytes(b"".join(lines))


def _everywhere(old: str, new: str) -> Callable[[dict[str, object]], None]:
    def change(event: dict[str, object]) -> None:
        text = json.dumps(event)
        event.clear()
        event.update(json.loads(text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])))

    return change


ALL = (
    "run_started", "model_merged", "model_scored", "generation_proposed", "kinship_measured",
    "generation_finished",
)  # fmt: skip
PATHS = ["../../../outside/x", "/OUTSIDE/x", "..", "a/b", "x" * 300, "a\0b", "a\nb"]


def _first_of(root: Path, kind: str) -> str:
    models = state_of(root).models.values()
    return next(m.content_id for m in models if (m.kind == "foundation") == (kind == "foundation"))


def around(root: Path) -> dict[str, object]:
    """Everything around a run's folder and the store, but for the foundation models."""
    found = tree(root.parent)
    ours = (f"{root.name}/runs/landscape", f"{root.name}/runs/store", f"{root.name}/foundation")
    times = {root.name, f"{root.name}/runs"}  # a lock file comes and goes
    return {
        name: each
        for name, each in found.items()
        if not name.startswith(ours) and name not in times
    }


@pytest.mark.parametrize("accept_drift", [False, True])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "what", ["child name", "foundation id", "foundation name", "evaluation id", "base id"]
)
def test_a_forged_journal_writes_nothing_outside(
    what: str,
    path: str,
    accept_drift: bool,
    half: Path,
    outside: Path,
    copy_of: Callable[[Path], Path],
) -> None:
    root = copy_of(half)
    state = state_of(root)
    old = {
        "child name": state.unscored[-1].name,
        "foundation id": _first_of(root, "foundation"),
        "foundation name": "ash",
        "evaluation id": next(m.scores for m in state.models.values() if m.scores).evaluation_id,
        "base id": state.start.base.content_id,
    }[what]
    forged(root, _everywhere(old, path.replace("/OUTSIDE", str(outside))), *ALL)
    shutil.rmtree(root / "runs/store/evaluations")
    before = around(root)
    for words in (["status"], ["verify"], ["digest"], ["tree"]):
        told = command(*words, "landscape", "--dir", root / "runs")
        assert told.code in {0, 2, 3}, told
    told = resume(root, accept_drift=accept_drift)
    assert told.code in {0, 3, 75}, told
    assert command("gc", "--yes", "--dir", root / "runs").code in {0, 3}
    assert around(root) == before


# Links out of the run -----------------------------------------------------------------------------


def _replace_by_link(path: Path, target: Path) -> None:
    if path.exists():
        remove(path)
    path.symlink_to(target)


LINKS = [
    "landscape/models", "landscape/generations", "landscape/logs", "landscape/lock",
    "landscape/journal.jsonl", "landscape/generations/02.yaml", "landscape/environment.json",
    "store/models", "store/evaluations", "store/tmp", "store/locks",
]  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_run_is_not_followed_by_a_write(
    name: str, half: Path, outside: Path, copy_of: Callable[[Path], Path]
) -> None:
    root = copy_of(half)
    place = root / "runs" / name
    target = outside
    if place.suffix or place.name == "lock":
        target = outside / "precious.txt"
        if place.name == "journal.jsonl":
            shutil.copy(place, target)
    _replace_by_link(place, target)
    before = tree(outside)
    told = resume(root)
    assert told.code in {0, 3, 75}, told
    assert tree(outside) == before


@pytest.mark.parametrize("retention", ["best", "all"])
def test_the_weights_behind_a_linked_artefact_are_never_deleted(
    retention: str, half: Path, outside: Path, copy_of: Callable[[Path], Path]
) -> None:
    """An artefact that is a link is not ours: not pruned, not replaced in place, not freed."""
    root = copy_of(half)
    for number, model in enumerate(sorted((root / "runs/store/models").iterdir())):
        model.rename(outside / str(number))
        model.symlink_to(outside / str(number))
    before = tree(outside)
    told = resume(root)
    assert told.code in {0, 3, 75}, told
    told = command("gc", "--yes", "--dir", root / "runs")
    assert told.code in {0, 3}, told
    assert tree(outside) == before
