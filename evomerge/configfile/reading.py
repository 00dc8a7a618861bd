"""Strict YAML, from text to a `Document`.

PyYAML scans and parses; this module also rejects duplicate keys, tags, keys that are not strings,
deep nesting, exponential aliases, and invalid characters.
"""

from __future__ import annotations

from typing import Any, cast

import yaml
from yaml.error import Mark
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from evomerge.configfile import scalars
from evomerge.configfile.document import Document, Fault, KeyPath, Place, printable
from evomerge.configfile.syntax import reworded

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_WEIGHT = 200_000
"""Limit of values plus characters after aliases are expanded."""

NOT_TEXT = yaml.reader.Reader.NON_PRINTABLE
"""A character that YAML does not allow: most control characters, surrogates."""


class RefusedError(Exception):
    """Reading cannot continue."""

    def __init__(self, message: str, where: Mark | Place | None) -> None:
        super().__init__(message)
        self.message = message
        self.place = _place(where) if isinstance(where, Mark) else where or Place()


class _Loader(yaml.SafeLoader):
    """SafeLoader up to its node graph, under the rules of `scalars`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            tag = printable(event.tag).replace("tag:yaml.org,2002:", "!!")[:60]
            what = f"the tag `{tag}`: a config holds plain values, no tags"
            raise RefusedError(what, event.start_mark)
        self._depth += 1
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise RefusedError(f"more than {MAX_NODES} values", event.start_mark)
        if self._depth > MAX_DEPTH:
            raise RefusedError(f"nested more than {MAX_DEPTH} levels deep", event.start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


_Loader.yaml_implicit_resolvers = {}
for _tag, _form, _first in scalars.RULES:
    _Loader.add_implicit_resolver(_tag, _form, _first)


def read(text: str, name: str) -> Document:
    """Read `text` to a document; errors are in its `faults`.

    `data` is None after a fault at which reading cannot continue.
    """
    document = Document(name)
    if len(text) > MAX_BYTES:
        document.faults.append(Fault(Place(), (), f"larger than {MAX_BYTES >> 20} MiB"))
        return document
    try:
        node = _compose(text.removeprefix("\ufeff"))
        if node is None:
            document.faults.append(
                Fault(Place(0, 1, 1), (), "the file is empty", "`evomerge init` writes a start")
            )
        else:
            document.data = _Tree(document).value(node, (), 1)
    except RefusedError as refused:
        document.data = None
        document.faults = [Fault(refused.place, (), refused.message, exact=True)]
    return document


def _compose(text: str) -> Node | None:
    if odd := NOT_TEXT.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        column = odd.start() - text.rfind("\n", 0, odd.start())
        what = f"the character U+{ord(odd[0]):04X} has no place in a text file"
        raise RefusedError(what, Place(0, line, column))
    loader = _Loader(text)  # raises nothing: what its reader would refuse was refused above
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise RefusedError(reworded(error), error.problem_mark or error.context_mark) from error
    except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:
        # PyYAML does not wrap errors of int() and chr() for invalid escapes or %YAML versions
        what = "a number in an escape or a directive is out of range"
        raise RefusedError(what, loader.get_mark()) from error
    finally:
        loader.dispose()


class _Tree:
    """Builds a document's values and places from its node graph."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._weight = 0

    def value(self, node: Node, path: KeyPath, depth: int) -> Any:
        """The value of `node`; records its locations under `path`."""
        self._document.places.setdefault(path, _place(node.start_mark))
        self._count(node, depth)
        if isinstance(node, MappingNode):
            entries = self._entries(node, path, depth)
            for key, (key_node, _) in entries.items():
                self._document.places[(*path, key)] = _place(key_node.start_mark)
            return {
                key: self.value(child, (*path, key), depth + 1)
                for key, (_, child) in entries.items()
            }
        if isinstance(node, SequenceNode):
            return [self.value(each, (*path, i), depth + 1) for i, each in enumerate(node.value)]
        return self._scalar(cast("ScalarNode", node), path)

    def _count(self, node: Node, depth: int) -> None:
        self._weight += 1 + (len(node.value) if isinstance(node, ScalarNode) else 0)
        if self._weight > MAX_WEIGHT:
            what = "more values than a config can have; an alias counts each time"
            raise RefusedError(what, node.start_mark)
        if depth > MAX_DEPTH:
            raise RefusedError("an alias nests too deep, or holds itself", node.start_mark)

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        if odd := NOT_TEXT.search(node.value):
            what = f"the character U+{ord(odd[0]):04X} has no place in a setting"
            raise RefusedError(what, node.start_mark)
        try:
            return scalars.scalar(node.tag, node.value)
        except ValueError as error:
            self._fault(node, path, str(error))
            return None

    def _entries(
        self, node: MappingNode, path: KeyPath, depth: int
    ) -> dict[str, tuple[ScalarNode, Node]]:
        """The entries of a mapping, merged (`<<`) ones first; its own entries override them."""
        merged: dict[str, tuple[ScalarNode, Node]] = {}
        own: dict[str, tuple[ScalarNode, Node]] = {}
        merge_key: Node | None = None
        for key_node, child in node.value:
            self._count(key_node, depth)
            if key_node.tag == scalars.MERGE:
                if merge_key is not None:
                    self._twice(key_node, "<<", merge_key, path)
                merge_key = key_node
                merged = self._merged(child, path, depth) | merged
            elif (key := self._key(key_node, path)) is not None:
                if key in own:
                    self._twice(key_node, key, own[key][0], path)
                else:
                    own[key] = (key_node, child)
        return merged | own

    def _merged(self, node: Node, path: KeyPath, depth: int) -> dict[str, tuple[ScalarNode, Node]]:
        self._count(node, depth)
        if isinstance(node, MappingNode):
            return self._entries(node, path, depth + 1)
        if not isinstance(node, SequenceNode):
            self._fault(node, path, "`<<` takes an alias of a mapping, or a list of them")
            return {}
        entries: dict[str, tuple[ScalarNode, Node]] = {}
        for each in node.value:  # the first of a list wins
            entries = self._merged(each, path, depth + 1) | entries
        return entries

    def _key(self, node: Node, path: KeyPath) -> str | None:
        if not isinstance(node, ScalarNode):
            self._fault(node, path, "a key must be a text, not a list or a mapping")
            return None
        if odd := NOT_TEXT.search(node.value):
            raise RefusedError(f"the character U+{ord(odd[0]):04X} in a key", node.start_mark)
        if node.tag != scalars.TEXT:
            shown = printable(node.value)[:60] or "nothing"
            what = f"a key must be a text, got {shown}"
            self._fault(node, (*path, node.value), what, "put it in quotes")
        return cast("str", node.value)

    def _twice(self, node: Node, key: str, first: Node, path: KeyPath) -> None:
        line = first.start_mark.line + 1
        self._fault(node, (*path, key), f"duplicate key; line {line} already has it", "keep one")

    def _fault(self, node: Node, path: KeyPath, message: str, remedy: str | None = None) -> None:
        fault = Fault(_place(node.start_mark), path, message, remedy)
        if fault not in self._document.faults:  # an alias is built once per use
            self._document.faults.append(fault)


def _place(mark: Mark) -> Place:
    return Place(0, mark.line + 1, mark.column + 1)
