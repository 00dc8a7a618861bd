"""A run in one file: a zip archive with all that shows, tests and compares it elsewhere.

    bundle.json                    format, name of the run
    run/                           journal, config, environment, report and plots
    store/evaluations/…            scores and the answers to every item
    store/models/<id>/pruned.json  what the weights were; with weights, the best model's own files
    store/kinship/…                measuring passes and weight samples
    store/calibration/…            what merges learnt from

The same run gives the same bytes: members are sorted, without times, owners or hosts.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from evomerge import __version__
from evomerge.adapters.kinship_files import check_file, files_of
from evomerge.configfile import placed, tells_nobody
from evomerge.domain.errors import DamagedError, StoppedError, UsageError
from evomerge.domain.state import RunState, fold
from evomerge.store.artefacts import (
    CALIBRATION,
    KINDS,
    MANIFEST,
    PRUNED,
    TASK_VECTORS,
    Store,
    problems,
)
from evomerge.store.atomic import (
    free_space,
    make_folder,
    refuse_links,
    storage_faults,
    sync_folder,
    sync_tree,
    write_atomic,
)
from evomerge.store.gc_roots import known_artefacts
from evomerge.store.journal import read_journal
from evomerge.store.ledger import derive
from evomerge.store.renaming import free_place
from evomerge.store.run_directory import STORE_FOLDER, RunDirectory
from evomerge.store.verification import artefacts_of

FORMAT = 1
ABOUT = "bundle.json"
_OF_RUN = ("journal.jsonl", "config.yaml", "environment.json", "report.html")
_PLOTS = "plots"
_KINSHIP = "kinship"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_STORED = {".safetensors", ".bin", ".png", ".pass"}
"""Suffixes of files that hardly become smaller."""

Members = dict[str, Path | bytes]
"""The content of an archive: for each member its file, or its bytes."""


def pack(run: RunDirectory, to: Path, weights: str | None = None) -> None:
    """Write a run to the new file `to`, atomically; it may go on meanwhile.

    Args:
        weights: content id of a model whose weights are complete in the store and are packed too.

    Raises:
        UsageError: there is a file `to` already.
        DamagedError: the journal or an artefact is damaged.
        StoppedError: the disk is full or failing.
    """
    if os.path.lexists(to):
        raise UsageError(f"{to} exists already", "name a file that does not exist yet: -o FILE")
    journal = run.journal.read_bytes()[: read_journal(run.journal).length]
    state, store = fold(run.read()), Store(run.store)
    about = {"format": FORMAT, "run": run.name, "evomerge": __version__}
    members: Members = {ABOUT: json.dumps(about).encode(), "run/journal.jsonl": journal}
    members |= {f"run/{name}": run.path / name for name in _OF_RUN[1:]}
    members |= _files(run.path / _PLOTS, f"run/{_PLOTS}")
    for name, _ in artefacts_of(state, store):
        members |= _of_artefact(store, name, whole=name == f"models/{weights}")
    if (learnt := state.start.calibration) is not None:
        members |= _of_artefact(store, f"{CALIBRATION}/{learnt.content_id}")
    base = f"{_KINSHIP}/{state.start.base.content_id}"
    for path in files_of(store.path(base), known_artefacts(state)):
        members[f"{STORE_FOLDER}/{base}/{path.name}"] = path
    _write(to, members)


def _of_artefact(store: Store, name: str, *, whole: bool = True) -> Members:
    """The files of an artefact; of a model without its weights, what they were.

    Sets of task vectors are left out: they are made again where a merge needs them.

    Raises:
        DamagedError: it is damaged.
    """
    folder, prefix = store.path(name), f"{STORE_FOLDER}/{name}"
    if name.startswith(f"{TASK_VECTORS}/"):
        return {}
    if name.startswith("models/") and not whole:
        told = next(
            (folder / each for each in (MANIFEST, PRUNED) if (folder / each).is_file()), None
        )
        return {f"{prefix}/{PRUNED}": told} if told else {}
    if folder.exists() and (found := problems(folder, deep=True)):
        raise DamagedError(found[0], "resume the run, which makes it again, then bundle it")
    return _files(folder, prefix)


def _files(folder: Path, prefix: str) -> Members:
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def _write(to: Path, members: Members) -> None:
    aside = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    make_folder(to.absolute().parent)
    with storage_faults(to):
        try:
            with aside.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
                for name, content in sorted(members.items()):
                    if isinstance(content, bytes) or content.is_file():
                        _add(archive, name, content)
                archive.close()
                file.flush()
                os.fsync(file.fileno())
            aside.rename(to)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(to.absolute().parent)


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    stored = Path(name).suffix in _STORED
    info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    info.create_system, info.external_attr = 3, 0o644 << 16
    if isinstance(content, bytes):
        archive.writestr(info, content)
        return
    info.file_size = content.stat().st_size
    with content.open("rb") as source, archive.open(info, "w") as into:
        shutil.copyfileobj(source, into, 1 << 20)


def unpack(file: Path, runs_dir: Path, name: str | None = None) -> RunDirectory:
    """Put the run of a bundle below `runs_dir`, all at once for a reader; returns its folder.

    Artefacts that the store has already stay as they are. What a kill leaves behind is deleted by
    `evomerge gc --yes`.

    Args:
        name: of the run; default: its own.

    Raises:
        UsageError: the file is no bundle, or a run of this name exists.
        DamagedError: a member is damaged, or leads outside of a run.
        StoppedError: the disk is full or failing.
    """
    with _opened(file) as archive:
        members, own = _members(archive, file), _name(archive, file)
        again = f"unpack it as another one: {_command(file, runs_dir, f'{name or own}-2')}"
        run = free_place(runs_dir, name or own, again)
        make_folder(runs_dir)
        store = Store(runs_dir / STORE_FOLDER)
        make_folder(store.root)
        refuse_links([store.root / each for each in (*KINDS, _KINSHIP)])
        _check_space(members, runs_dir)
        with store.temporary_folder(f"runs/{run.name}") as folder:
            _extract(archive, members, "run/", folder)
            aside = RunDirectory(folder)
            state = _state(run, aside, file)
            _take_over(archive, members, store, state, file)
            if aside.config.is_file():
                # Who was told of it there is not who is told here, nor by that command.
                text = tells_nobody(aside.config.read_text(encoding="utf-8"))
                place = {"name": run.name, "dir": str(runs_dir.absolute())}
                aside.config.write_text(placed(text, **place), encoding="utf-8")
            derive(aside, state)
            sync_tree(folder)
            free_place(runs_dir, run.name, again)
            folder.rename(run.path)
            sync_folder(runs_dir)
    return run


def _command(file: Path, runs_dir: Path, name: str) -> str:
    return shlex.join(["evomerge", "unbundle", str(file), "--as", name, "--dir", str(runs_dir)])


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (FileNotFoundError, IsADirectoryError) as error:
        if error.filename is None or Path(error.filename) != file:
            raise
        raise UsageError(f"{file}: {error.strerror}", "name a file of `evomerge bundle`") from None
    except zipfile.BadZipFile as error:
        with file.open("rb") as start:
            if start.read(2) == b"PK":
                raise DamagedError(f"{file}: {error}", "copy it again") from error
        raise UsageError(f"{file} is not a bundle of a run", "see `evomerge bundle`") from None
    except (EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedError(f"{file}: {error}", "copy it again") from error


def _members(archive: zipfile.ZipFile, file: Path) -> dict[str, zipfile.ZipInfo]:
    """The members by name, each a plain file of a run or of a store.

    Raises:
        DamagedError: one is something else; evomerge wrote no such bundle.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        kind = info.external_attr >> 28
        if info.filename in found or kind not in {0, 8} or not _is_ours(info.filename):
            raise DamagedError(
                f"{file}: the member {info.filename[:200]!r} is not one of a bundle; nothing was "
                "unpacked",
                "unpack only what `evomerge bundle` wrote",
            )
        found[info.filename] = info
    return found


def _is_ours(name: str) -> bool:
    parts = name.split("/")
    if any(part in {"", ".", ".."} or "\\" in part or not part.isprintable() for part in parts):
        return False
    match parts:
        case [only]:
            return only == ABOUT
        case ["run", file]:
            return file in _OF_RUN
        case ["run", folder, _]:
            return folder == _PLOTS
        case ["store", kind, _, _, *_]:
            return kind in {*KINDS, _KINSHIP}
    return False


def _name(archive: zipfile.ZipFile, file: Path) -> str:
    """The name of the run; raises UsageError."""
    try:
        about = json.loads(archive.read(ABOUT))
        made, name = about["format"], str(about["run"])
    except (KeyError, ValueError, TypeError):
        raise UsageError(f"{file} is not a bundle of a run", "see `evomerge bundle`") from None
    if made != FORMAT:
        raise UsageError(f"{file} was written by a newer evomerge", "upgrade evomerge")
    return name


def _check_space(members: dict[str, zipfile.ZipInfo], runs_dir: Path) -> None:
    needed = sum(info.file_size for info in members.values())
    if shutil.disk_usage(runs_dir).free < needed:
        raise StoppedError(
            f"the bundle needs {needed / 1e9:.2f} GB below {runs_dir}; {free_space(runs_dir)}"
        )


def _state(run: RunDirectory, aside: RunDirectory, file: Path) -> RunState:
    try:
        return fold(run.named(read_journal(aside.journal).entries))
    except ValueError as error:
        raise DamagedError(f"{file}: its journal is damaged: {error}") from error
    except DamagedError as error:
        where = str(error).replace(str(aside.path), f"{file}: run")
        raise DamagedError(where, "copy it again") from error


def _take_over(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    store: Store,
    state: RunState,
    file: Path,
) -> None:
    """Put the artefacts that the run refers to into the store; others are refused."""
    known, base = known_artefacts(state), state.start.base.content_id
    groups: dict[str, list[str]] = {}
    for member in members:
        _, *parts = member.split("/")
        if not member.startswith(f"{STORE_FOLDER}/"):
            continue
        if parts[1] not in (known if parts[0] in KINDS else {base}):
            raise DamagedError(f"{file}: {member} is not of its run; the run was not unpacked")
        depth = 3 if parts[0] == "evaluations" else 2
        groups.setdefault("/".join(parts[:depth]), []).append(member)
    for name in sorted(groups):
        if name.startswith(f"{_KINSHIP}/"):
            _take_over_kinship(archive, groups[name], store, file)
            continue
        prefix = f"{STORE_FOLDER}/{name}/"
        store.receive(name, partial(_extract, archive, members, prefix))


def _take_over_kinship(
    archive: zipfile.ZipFile, members: list[str], store: Store, file: Path
) -> None:
    for member in members:
        path = store.path(member.removeprefix(f"{STORE_FOLDER}/"))
        if path.exists():
            continue
        data = archive.read(member)
        try:
            check_file(path.name, data)
        except DamagedError as error:
            raise DamagedError(f"{file}: {member}: {error}", "copy it again") from error
        make_folder(path.parent)
        write_atomic(path, data)


def _extract(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], prefix: str, folder: Path
) -> None:
    """Write the members below `prefix` into `folder`."""
    for name, info in members.items():
        if name.startswith(prefix):
            place = folder / name.removeprefix(prefix)
            with suppress(FileExistsError):
                place.parent.mkdir(parents=True)
            with archive.open(info) as source, place.open("xb") as into:
                shutil.copyfileobj(source, into, 1 << 20)
