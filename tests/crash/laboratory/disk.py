"""What a power cut may leave of a logged run: a model of a disk that forgets what is unsynced.

After the idea of ALICE (Pillai et al., OSDI 2014). A file keeps what was written before its last
fsync; a name (of a new file, a renamed or a removed one) is kept once its folder was fsynced. What
was not synced may be there, be gone, or be there in part; the variants below are the usual ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from laboratory.interpose import Operation

LATEST = 3
"""Of the unsynced names, so many of the latest are also lost or kept one by one."""


@dataclass
class File:
    """A file: its content, and what is safe of it."""

    content: bytes = b""
    synced: bytes = b""


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(eq=False)
class Folder:
    """A folder: its entries, and the safe ones."""

    entries: dict[str, Node] = field(default_factory=dict)
    synced: dict[str, Node] = field(default_factory=dict)


Node = File | Folder | Link
Tree = dict[str, "bytes | Link | Tree"]
"""A folder as a crash leaves it."""


@dataclass(frozen=True, eq=False)
class Naming:
    """An unsynced change of names: each is set to a node or removed, all or none of them.

    It is safe when `home` is synced.
    """

    home: Folder
    changes: tuple[tuple[Folder, str, Node | None], ...]


class Disk:
    """The model; feed it the log of a run."""

    def __init__(self, before: Path | None = None) -> None:
        """Begin empty or with a folder, all of which is safe."""
        self.root = Folder() if before is None else _loaded(before)
        self.pending: list[Naming] = []
        self.committed = 0

    def apply(self, change: Operation) -> None:
        """One more change."""
        getattr(self, f"_{change.kind}")(change)

    def _find(self, path: str) -> Node | None:
        node: Node | None = self.root
        for name in () if path == "." else path.split("/"):
            if not isinstance(node, Folder):
                return None
            node = node.entries.get(name)
        return node

    def _file(self, path: str) -> File:
        """The file, or a stray one if it was removed while it was open."""
        node = self._find(path)
        return node if isinstance(node, File) else File()

    def _place(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above or ".")
        if not isinstance(folder, Folder):
            raise TypeError(f"no folder {above!r}")
        return folder, name

    def _name(self, *changes: tuple[str, Node | None]) -> None:
        """Set names; the change is safe when the folder of the last one is synced."""
        placed = tuple((*self._place(path), node) for path, node in changes)
        for folder, name, node in placed:
            if node is None:
                folder.entries.pop(name, None)
            else:
                folder.entries[name] = node
        self.pending.append(Naming(placed[-1][0], placed))

    def _create(self, change: Operation) -> None:
        self._name((change.path, File()))

    def _mkdir(self, change: Operation) -> None:
        if change.path != ".":
            self._name((change.path, Folder()))

    def _symlink(self, change: Operation) -> None:
        self._name((change.path, Link(change.target)))

    def _unlink(self, change: Operation) -> None:
        self._name((change.path, None))

    _rmdir = _unlink

    def _rename(self, change: Operation) -> None:
        self._name((change.path, None), (change.target, self._find(change.path)))

    def _write(self, change: Operation) -> None:
        file = self._file(change.path)
        start = file.content[: change.place].ljust(change.place, b"\0")
        file.content = start + change.data + file.content[change.place + len(change.data) :]

    def _truncate(self, change: Operation) -> None:
        file = self._file(change.path)
        file.content = file.content[: change.place]

    def _committed(self, change: Operation) -> None:
        self.committed = int(change.target)

    def _fsync(self, change: Operation) -> None:
        node = self._find(change.path)
        if isinstance(node, File):
            node.synced = node.content
        elif isinstance(node, Folder):
            safe = [naming for naming in self.pending if naming.home is node]
            self.pending = [naming for naming in self.pending if naming.home is not node]
            for naming in safe:
                self._keep(naming)

    def _keep(self, naming: Naming) -> None:
        """Names that are safe override older unsynced ones of the same names."""
        for folder, name, node in naming.changes:
            _set(folder.synced, name, node)
            self.pending = [
                other
                for other in self.pending
                if not any((folder, name) == each[:2] for each in other.changes)
                or other.home is naming.home
            ]

    def crashes(self) -> Iterator[tuple[str, Tree]]:
        """Every state that is tried after the changes so far, with its description."""
        every, none = list(self.pending), list[Naming]()
        yield "nothing lost", self._tree(every, _all)
        yield "all that is unsynced lost", self._tree(none, _synced)
        yield "unsynced content lost", self._tree(every, _synced)
        yield "unsynced content zero", self._tree(every, _zeros)
        yield "unsynced content torn", self._tree(every, _torn)
        yield "unsynced names lost", self._tree(none, _all)
        for naming in every[-LATEST:]:
            rest = [other for other in every if other is not naming]
            yield "one unsynced name lost", self._tree(rest, _all)
            yield "one unsynced name kept", self._tree([naming], _all)

    def _tree(self, kept: list[Naming], content: Callable[[File], bytes]) -> Tree:
        names: dict[Folder, dict[str, Node]] = {}
        for naming in kept:
            for folder, name, node in naming.changes:
                _set(names.setdefault(folder, dict(folder.synced)), name, node)

        def walk(folder: Folder) -> Tree:
            tree: Tree = {}
            for name, node in names.get(folder, folder.synced).items():
                if isinstance(node, Folder):
                    tree[name] = walk(node)
                else:
                    tree[name] = content(node) if isinstance(node, File) else node
            return tree

        return walk(self.root)


def _set(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _all(file: File) -> bytes:
    return file.content


def _synced(file: File) -> bytes:
    return file.synced


def _zeros(file: File) -> bytes:
    """The size is there, the blocks are not."""
    return file.synced + b"\0" * (len(file.content) - len(file.synced))


def _torn(file: File) -> bytes:
    """Half of what was written since the last fsync."""
    return file.content[: (len(file.synced) + len(file.content)) // 2]


def _loaded(path: Path) -> Folder:
    folder = Folder()
    for each in path.iterdir():
        node: Node
        if each.is_symlink():
            node = Link(str(each.readlink()))
        elif each.is_dir():
            node = _loaded(each)
        else:
            data = each.read_bytes()
            node = File(data, data)
        folder.entries[each.name] = folder.synced[each.name] = node
    return folder


def write_tree(tree: Tree, into: Path) -> None:
    """Make a crash state real."""
    into.mkdir(parents=True, exist_ok=True)
    for name, node in tree.items():
        if isinstance(node, bytes):
            (into / name).write_bytes(node)
        elif isinstance(node, Link):
            (into / name).symlink_to(node.target)
        else:
            write_tree(node, into / name)


def _key(tree: Tree) -> frozenset[tuple[str, object]]:
    """Equal for equal states; quick, because a content that trees share is hashed once."""
    return frozenset(
        (name, _key(node) if isinstance(node, dict) else node) for name, node in tree.items()
    )


@dataclass(frozen=True)
class CrashState:
    """A state to resume from.

    Attributes:
        after: how many changes were made before the power failed.
        committed: entries of the journal that must not be lost.
    """

    after: int
    how: str
    change: str
    committed: int
    tree: Tree

    def __str__(self) -> str:
        return f"power cut after change {self.after} ({self.change}): {self.how}"


def read_log(path: Path) -> list[Operation]:
    """The changes of a log, but for those that no run depends on: foundation models and locks."""
    changes = (Operation.from_json(line) for line in path.read_text().splitlines())
    return [change for change in changes if not _irrelevant(change.path)]


def _irrelevant(path: str) -> bool:
    parts = path.split("/")
    above_and_name = set(pairwise(parts))
    return parts[0] == "foundation" or parts[-1] == "lock" or ("store", "locks") in above_and_name


def crash_states(changes: Iterable[Operation], disk: Disk) -> Iterator[CrashState]:
    """Every distinct state between two changes."""
    seen = set()
    for number, change in enumerate(changes, 1):
        disk.apply(change)
        for how, tree in disk.crashes():
            known = (_key(tree), disk.committed)
            if known not in seen:
                seen.add(known)
                what = f"{change.kind} {change.path}"
                yield CrashState(number, how, what, disk.committed, tree)
