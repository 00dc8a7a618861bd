"""PyYAML's error messages, rephrased for users who edit a config."""

from __future__ import annotations

import yaml

from evomerge.configfile.document import printable

_WORDS = {
    "found character '\\t'": "a tab; YAML is indented with spaces",
    "mapping values are not allowed here": (
        "a `:` where no key can stand: is the line indented as its neighbours, or does the text "
        "need quotes?"
    ),
    "could not find expected ':'": "this line is not `key: value`",
    "expected <block end>": "this line does not fit the indentation of the lines above",
    "found undefined alias": (
        "an alias (`*name`) without its anchor (`&name`) before it; a text that begins with `*` "
        "needs quotes"
    ),
    "expected the node content": "a value is missing here, or a bracket is not closed",
    "found duplicate anchor": "this anchor (`&name`) exists already",
    "but found another document": "a second document (`---`); a config is one",
    "found unexpected document separator": "a quoted text is not closed before `---`",
    "sequence entries are not allowed here": "a list item (`- `) where none can stand",
    "found incompatible YAML document": "YAML 1.x only",
    "expected alphabetic or numeric character": (
        "`&` and `*` begin an anchor or an alias; a text that begins with one needs quotes"
    ),
    "found unknown escape character": (
        "an unknown escape after `\\`; use single quotes for a text with backslashes"
    ),
}


def reworded(error: yaml.MarkedYAMLError) -> str:
    """One line about `error`; PyYAML's message if there is no better one."""
    problem = printable(error.problem or "not readable as YAML")
    context = error.context or ""
    opened = f" opened on line {error.context_mark.line + 1}" if error.context_mark else ""
    if "found unexpected end of stream" in problem and "quoted" in context:
        return f"the quote{opened} is not closed"
    if "expected ',' or ']'" in problem or "expected ',' or '}'" in problem:
        return f"the bracket{opened} is not closed, or a comma is missing"
    if "cannot start any token" in problem and "'\\t'" not in problem:
        return f"{problem.removeprefix('found ')}: put the text in quotes".replace(
            "that cannot start any token", "cannot begin a text"
        )
    return next((words for sign, words in _WORDS.items() if sign in problem), problem)
