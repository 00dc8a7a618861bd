"""pydantic's errors, rephrased for users who edit a config."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

from evomerge.config.texts import NAME_PATTERN, SHARD_PATTERN, TASK_PATTERN
from evomerge.configfile.document import printable

_KINDS = {
    "string_type": "a text",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
}

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "of at most"),
}

_PATTERNS = {
    NAME_PATTERN: "a name of up to 64 letters, digits, `.`, `_` and `-`, a letter or digit first",
    SHARD_PATTERN: "a number of parameters such as 5B or 500M",
    TASK_PATTERN: "the name of an lm-eval task",
}


def message(error: ErrorDetails, got: Any) -> str:
    """The expected and the actual value."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}, got {described(got)}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"expected a number {words} {context[bound]:g}, got {described(got)}"
    if kind in {"literal_error", "enum", "union_tag_invalid"}:
        return f"expected {either(choices(error))}, got {described(got)}"
    if kind == "too_short":
        count, least = context["actual_length"], context["min_length"]
        return f"expected at least {least} {_items(least)}, got {count or 'none'}"
    if kind == "too_long":
        most = context["max_length"]
        return f"expected at most {most} {_items(most)}"
    return _of_text(error, got)


def _of_text(error: ErrorDetails, got: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "string_too_short":
        return "may not be empty"
    if kind == "string_too_long":
        return f"expected a text of at most {context['max_length']} characters"
    if kind == "string_pattern_mismatch":
        return f"expected {_PATTERNS.get(context['pattern'], 'another text')}, got {described(got)}"
    if kind == "parameter":
        return f"expected {context['expected']}, got {described(got)}"
    said = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{said}, got {described(got)}"


def of_a_name(error: ErrorDetails, got: Any) -> tuple[str, str | None]:
    """(message, remedy) for a strategy or a criterion that is not known, or needs its options."""
    told = error.get("ctx", {})
    if error["type"] == "no_criterion" and isinstance(got, dict) and got:
        return "expected one criterion an item", "give each a `- ` of its own"
    if error["type"] == "no_criterion":
        return f"expected a stopping criterion, got {described(got)}", None
    if error["type"] == "needs_a_value":
        options = ", ".join(f"{key}: ..." for key in told["required"])
        value = "..." if told["main"] else f"{{{options}}}"
        return f"{told['name']} needs a value", f"write `- {told['name']}: {value}`"
    named = [got] if isinstance(got, str) else list(got) if isinstance(got, dict) else []
    written = described(named[0] if named else got)
    known = f"expected {either(told['names'])}, or package.module:Class, got {written}"
    return known, did_you_mean(nearest(named, told["names"]))


def either(options: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = options
    return f"{', '.join(most)} or {last}" if most else last


def choices(error: ErrorDetails) -> list[str]:
    """The values that an error of an enumeration allows."""
    context = error.get("ctx", {})
    told = str(context.get("expected", context.get("expected_tags", "")))
    return [item.lower() if item in {"True", "False"} else item for item in _listed(told)]


def _listed(told: str) -> list[str]:
    return re.findall(r"'([^']*)'", told) or [told]


def described(value: Any) -> str:
    """A value for a message: its type, and the value itself if it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        text = printable(value)
        return (
            f"the text '{text[:60] + '…' if len(text) > 60 else text}'" if text else "an empty text"
        )
    return "a list" if isinstance(value, list) else "a mapping"


_OTHER_WORDS = {
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "pool_size": "k",
    "population": "k",
    "population_size": "k",
    "top_k": "k",
    "device": "devices",
    "gpu": "devices",
    "gpus": "devices",
    "weights": "weight",
    "task": "name",
}
"""What other tools call it."""


def other_word(text: str) -> str:
    """The key for what other tools call `text`; empty if none is known."""
    return _OTHER_WORDS.get(text, "")


def nearest(written: Iterable[Any], known: Iterable[str], closeness: float = 0.6) -> str | None:
    """The known word that is most similar to one of `written`; None if none is close.

    Args:
        closeness: the least similarity, from 0 to 1.
    """
    words = {word.lower(): word for word in known}
    for text in written:
        plain = str(text).lower().replace("-", "_").replace(" ", "_")[:80]
        if (other := _OTHER_WORDS.get(plain)) in words:
            return words[other]
        parts = [word for word in words if plain and plain in word.split("_")]
        found = difflib.get_close_matches(plain, words, n=1, cutoff=closeness)
        if guess := parts if len(parts) == 1 else found:
            return words[guess[0]]
    return None


def did_you_mean(word: str | None) -> str | None:
    """The remedy that suggests a word."""
    return None if word is None else f"did you mean `{word}`?"


def _items(count: int) -> str:
    return "item" if count == 1 else "items"
