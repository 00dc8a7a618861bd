"""Ways to damage a file or folder, and the places of a run where it is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evomerge.domain.model import Model
from evomerge.domain.state import RunState, fold
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape import VECTOR

Damage = Callable[[Path], None]
Place = Callable[[Path], Path]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def truncated(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flipped(path: Path) -> None:
    """The lowest bit of a digit in the middle: the size and the syntax stay."""
    data = bytearray(path.read_bytes())
    place = next(i for i in range(len(data) // 2, len(data)) if chr(data[i]).isdigit())
    data[place] ^= 1
    path.write_bytes(data)


def zero_length(path: Path) -> None:
    path.write_bytes(b"")


def junk(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 4)


def no_object(path: Path) -> None:
    path.write_text("[[1, 2], null]")


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def folder_instead(path: Path) -> None:
    remove(path)
    path.mkdir()
    (path / "inside").write_text("x")


def file_instead(path: Path) -> None:
    remove(path)
    path.write_text("a file")


def link_loop(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    remove(path)
    path.symlink_to("nowhere")


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n\0\0\0")


def like_its_neighbour(path: Path) -> None:
    """The content of the same file of another artefact."""
    own = path.read_bytes()
    others = path.parents[1].glob(f"*/{path.name}")
    path.write_bytes(next(text for each in sorted(others) if (text := each.read_bytes()) != own))


def without_file(path: Path) -> None:
    """A manifest that lists one file less."""
    content = json.loads(path.read_text())
    content["files"].pop(max(content["files"]))
    path.write_text(json.dumps(content))


def listing_outside(path: Path) -> None:
    """A manifest that lists a file out of its folder."""
    content = json.loads(path.read_text())
    content["files"]["../../../../../etc/passwd"] = {"size": 1, "sha256": "0" * 64}
    path.write_text(json.dumps(content))


def first_line_twice(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines]))


def lines_swapped(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[4], lines[3], *lines[5:]]))


def line_lost(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5] + lines[6:]))


def torn(path: Path) -> None:
    """A last line without its end."""
    path.write_bytes(path.read_bytes()[:-9])


def nul_tail(path: Path) -> None:
    """What some file systems leave after a power cut."""
    with path.open("ab") as file:
        file.write(b"\0" * 512)


# Places -------------------------------------------------------------------------------------------


def _run(root: Path) -> Path:
    return root / "runs" / "landscape"


def _state(root: Path) -> RunState:
    return fold(RunDirectory(_run(root)).read())


def parent(root: Path) -> Model:
    """An offspring that is a parent of one that has no score yet, or of the last one."""
    state = _state(root)
    child = (state.unscored or tuple(state.models.values()))[-1]
    return next(state.models[name] for name in child.parents if state.models[name].candidate)


def model(root: Path) -> Path:
    return root / "runs/store/models" / parent(root).content_id


def weights(root: Path) -> Path:
    return model(root) / VECTOR


def manifest(root: Path) -> Path:
    return model(root) / "manifest.json"


def evaluation(root: Path) -> Path:
    model = parent(root)
    return root / "runs/store/evaluations" / model.content_id / model.scores.evaluation_id


def scores(root: Path) -> Path:
    return evaluation(root) / "scores.json"


def samples(root: Path) -> Path:
    return evaluation(root) / "samples_task-0.jsonl"


def evaluation_manifest(root: Path) -> Path:
    return evaluation(root) / "manifest.json"


def in_run(name: str) -> Place:
    return lambda root: _run(root) / name


def in_store(name: str) -> Place:
    return lambda root: root / "runs" / "store" / name


def link(root: Path) -> Path:
    return _run(root) / "models" / parent(root).name


def link_elsewhere(path: Path) -> None:
    """A link to another model's weights."""
    other = next(each for each in sorted(path.parent.iterdir()) if each != path)
    path.unlink()
    path.symlink_to(other.readlink())


def folder_of_another(path: Path) -> None:
    """In the place of an artefact a link to another one."""
    other = next(each for each in sorted(path.parent.iterdir()) if each != path)
    shutil.rmtree(path)
    path.symlink_to(other.name)


def stray_file(path: Path) -> None:
    (path / f".{VECTOR}.4711.tmp").write_text("half")


def stray_work(path: Path) -> None:
    """Work in progress of a process that is no more."""
    folder = path / "models--merge1-0123.4000000"
    folder.mkdir()
    (folder / VECTOR).write_text("[1, 2")


@dataclass(frozen=True)
class Case:
    """One kind of damage at one place."""

    name: str
    place: Place
    damage: Damage


def _cases(name: str, place: Place, *damages: Damage) -> list[Case]:
    return [Case(f"{name}-{each.__name__}", place, each) for each in damages]


IN_STORE = [
    *_cases("weights", weights, truncated, flipped, zero_length, remove, folder_instead, link_loop,
            longer, like_its_neighbour),
    *_cases("manifest", manifest, truncated, flipped, zero_length, remove, junk, no_object, deep,
            folder_instead, link_loop, like_its_neighbour, without_file, listing_outside),
    *_cases("model", model, remove, file_instead, dangling, link_loop, folder_of_another,
            stray_file),
    *_cases("scores", scores, truncated, flipped, zero_length, remove, folder_instead, link_loop,
            junk),
    *_cases("samples", samples, truncated, flipped, remove),
    *_cases("evaluation", evaluation_manifest, truncated, zero_length, remove, no_object,
            without_file),
    *_cases("evaluation-folder", evaluation, remove, file_instead, dangling),
    *_cases("tmp", in_store("tmp"), stray_work, stray_file, file_instead),
    *_cases("locks", in_store("locks"), remove, file_instead),
]  # fmt: skip
IN_RUN = [
    *_cases("journal", in_run("journal.jsonl"), truncated, flipped, zero_length, remove, junk,
            folder_instead, link_loop, dangling, torn, nul_tail, first_line_twice, lines_swapped,
            line_lost),
    *_cases("lock", in_run("lock"), remove, junk, folder_instead, link_loop),
    *_cases("environment", in_run("environment.json"), truncated, remove, folder_instead),
    *_cases("checkpoint", in_run("generations/01.yaml"), truncated, flipped, zero_length, remove,
            folder_instead, link_loop),
    *_cases("generations", in_run("generations"), remove, file_instead),
    *_cases("link", link, remove, dangling, link_loop, link_elsewhere, file_instead,
            folder_instead),
    *_cases("links", in_run("models"), remove, file_instead),
    *_cases("logs", in_run("logs"), remove, file_instead),
]  # fmt: skip
CASES = [*IN_STORE, *IN_RUN]

NO_JOURNAL = {
    f"journal-{each.__name__}"
    for each in (flipped, zero_length, remove, junk, folder_instead, link_loop, dangling,
                 first_line_twice, lines_swapped, line_lost)
}  # fmt: skip
"""After these what the run did is not known: every command but `list` refuses."""
IN_THE_WAY = {
    "tmp-file_instead", "locks-file_instead", "lock-folder_instead", "lock-link_loop",
    "checkpoint-folder_instead", "generations-file_instead", "link-file_instead",
    "link-folder_instead", "links-file_instead",
}  # fmt: skip
"""What stands where a driver has to write; whoever put it there has to take it away."""
REFUSED = NO_JOURNAL | IN_THE_WAY
"""All other damage is mended."""
