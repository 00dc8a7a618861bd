"""Validation of a document to a `Config`, or to all of its faults with location and remedy."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from evomerge.config import Config
from evomerge.configfile import wording
from evomerge.configfile.document import Document, Fault, KeyPath
from evomerge.configfile.shape import Section, Spot, alternatives, fields, homes, names, spot

_MISSING = "is missing"
_UNKNOWN = "unknown key"
_SIMILAR, _VERY_SIMILAR = 0.6, 0.85
"""A key that exists elsewhere is rather in the wrong place than misspelt."""
_FEW = 4
"""A key of more places than these says nothing."""
_OF_MERGEKIT = {
    "arcee_fusion", "breadcrumbs", "breadcrumbs_ties", "della_linear", "karcher", "model_stock",
    "multislerp", "nearswap", "nuslerp", "ram", "ramplus_tl", "sce",
}  # fmt: skip
"""Merge methods of mergekit without a section of their own."""


def checked(document: Document) -> Config:
    """Validate `document` and return its config.

    Raises:
        ConfigError: with every fault of the document, in the order of the file.
    """
    if document.data is None and document.faults:
        raise document.refusal(document.faults)
    if not isinstance(document.data, dict):
        what = f"expected a mapping (`key: value` lines), got {wording.described(document.data)}"
        raise document.refusal([Fault(document.place(()), (), what)])
    try:
        # JSON mode with `strict`: the types that the file spells count; no "3" becomes a 3
        config = Config.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        found = _faults(document, error)
    else:
        found = []
    faults = [*document.faults, *(fault for fault in found if not _told(fault, document))]
    if faults:
        raise document.refusal(faults)
    return config


def _told(fault: Fault, document: Document) -> bool:
    """Whether `fault` repeats one that reading the file already found."""
    read = {each.path for each in document.faults}
    repeats = fault.message == _UNKNOWN or _got(document, fault.path) is None
    return fault.path in read and repeats


def _faults(document: Document, error: ValidationError) -> list[Fault]:
    errors = error.errors(include_url=False, include_input=False)
    errors += _below_a_wrong_method(document, errors)
    faults = [fault for each in errors for fault in _of(each, document)]
    misspelt = {(fault.path[:-1], fault.remedy) for fault in faults}
    return list(
        {
            (fault.path, fault.message): fault
            for fault in faults
            if not _is_the_other_half(fault, misspelt)
        }.values()
    )


def _is_the_other_half(fault: Fault, misspelt: set[tuple[KeyPath, str | None]]) -> bool:
    """Whether a key is missing only because its name is misspelt."""
    if not fault.message.startswith(_MISSING) or not fault.path:
        return False
    return (fault.path[:-1], wording.did_you_mean(str(fault.path[-1]))) in misspelt


def _below_a_wrong_method(document: Document, errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The further errors of `merge` when its method is a slip: told now, not after the next try."""
    slip = next(
        (e for e in errors if e["type"] == "union_tag_invalid" and e["loc"] == ("merge",)), None
    )
    if slip is None:
        return []
    meant = wording.nearest([document.data["merge"]["method"]], wording.choices(slip))
    if meant is None:
        return []
    tree = copy.deepcopy(document.data)
    tree["merge"]["method"] = meant
    try:
        Config.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        further = error.errors(include_url=False, include_input=False)
        return [each for each in further if each["loc"][:1] == ("merge",)]
    return []


def _of(
    error: ErrorDetails, document: Document, section: Section = Config, at: KeyPath = ()
) -> Iterator[Fault]:
    """The faults behind one error of pydantic in `section`, which is located `at` a path."""
    where = spot(error["loc"], section)
    where = replace(where, path=(*at, *where.path))
    got = _got(document, where.path)
    match error["type"]:
        case "within":
            told = error["ctx"]
            for each in told["errors"]:
                yield from _of(each, document, told["section"], (*where.path, *told["at"]))
        case "refused":
            for below, what in error["ctx"]["faults"]:
                path = (*where.path, *below)
                yield Fault(document.place(path), path, what)
        case "missing":
            yield _missing(where, document)
        case "extra_forbidden":
            yield _unknown(where, document)
        case "unknown_name" | "no_criterion" | "needs_a_value":
            path = (*where.path, *error.get("ctx", {}).get("at", ()))
            named = _got(document, path)
            what, remedy = wording.of_a_name(error, named)
            yield Fault(document.place(path), path, what, remedy or _criterion_with(named))
        case "union_tag_not_found":
            yield _without_a_method(where.path, got, document)
        case "too_short" if len(got) >= error["ctx"]["min_length"]:
            pass  # items that are wrong were not counted; they are told themselves
        case _:
            yield _wrong_value(error, where.path, document)


def _criterion_with(got: Any) -> str | None:
    """The criterion that has an option which stands in the place of its name."""
    option = next(iter(got), "") if isinstance(got, dict) else ""
    for path, _ in homes().get(str(option), ()):
        name = path.split(".")[-2]
        if path.startswith("stopping.N.") and name != "N":
            return f"write `- {name}: {{{option}: ...}}`"
    return None


def _without_a_method(path: KeyPath, got: Any, document: Document) -> Fault:
    if not isinstance(got, dict):
        what = f"expected a mapping, got {wording.described(got)}"
        return Fault(document.place(path), path, what)
    path = (*path, "method")
    known = wording.either(_all_methods())
    return Fault(document.place(path), path, f"{_MISSING}: one of {known}")


def _got(document: Document, path: KeyPath) -> Any:
    try:
        return document.value(path)
    except LookupError:
        return None


def _missing(where: Spot, document: Document) -> Fault:
    field = None if where.section is None else fields(where.section).get(str(where.path[-1]))
    if field is None:
        means = None
    else:
        means = field.description or getattr(field.annotation, "__doc__", None)
    return Fault(
        document.place(where.path),
        where.path,
        _MISSING + (f": {means.rstrip('.')}" if means else ""),
    )


def _wrong_value(error: ErrorDetails, path: KeyPath, document: Document) -> Fault:
    if error["type"] == "union_tag_invalid":
        path = (*path, "method")
    got = _got(document, path)
    remedy = None
    if error["type"] in {"literal_error", "enum", "union_tag_invalid"} and isinstance(got, str):
        remedy = wording.did_you_mean(wording.nearest([got], wording.choices(error)))
        if error["type"] == "union_tag_invalid" and got in _OF_MERGEKIT:
            remedy = f"write `method: mergekit` and `fragment: {{merge_method: {got}}}`"
    elif error["type"] == "string_type" and isinstance(got, bool | int | float):
        remedy = "put it in quotes"
    elif error["type"] in {"list_type", "tuple_type"} and isinstance(got, str | dict):
        remedy = "write it as `[...]`, or with `- ` before each item"
    what = wording.message(error, got)
    if path[:2] == ("evaluation", "model_args") and len(path) > 2:  # one error per type it may have
        what = f"expected a text, a number, true or false, got {wording.described(got)}"
    return Fault(document.place(path), path, what, remedy)


def _unknown(where: Spot, document: Document) -> Fault:
    """An unknown key, with a suggestion for its name or its location."""
    key = str(where.path[-1])
    return Fault(document.place(where.path), where.path, _UNKNOWN, _meant(key, where))


def _meant(key: str, where: Spot) -> str | None:
    section = where.section
    siblings = [] if section is None else list(fields(section))
    here = ".".join("N" if isinstance(part, int) else part for part in where.path)
    elsewhere = homes().get(key, ())
    for path, owners in elsewhere:
        if path == here and owners:
            what = "strategy" if path.startswith("strategy.") else "method"
            belongs = f"it belongs to the {what} {wording.either(dict.fromkeys(owners))}"
            own = ", ".join(siblings)
            return f"{belongs}; the keys here are {own}" if what == "strategy" else belongs
    if near := wording.nearest([key], siblings, _VERY_SIMILAR if elsewhere else _SIMILAR):
        return wording.did_you_mean(near)
    other = homes().get(wording.other_word(key), ())
    if other and len(other) <= _FEW:
        return f"did you mean {_places(other, where)}?"
    if elsewhere:
        return f"it belongs at {_places(elsewhere, where)}"
    distant = homes().get(wording.nearest([key], homes()) or "", ())
    if distant and len(distant) <= _FEW:
        return f"did you mean {_places(distant, where)}?"
    return f"the keys here are {', '.join(siblings)}" if siblings else None


def _places(known: Sequence[tuple[str, tuple[str, ...]]], where: Spot) -> str:
    """Where a key belongs: in the section of `where` if it does, else anywhere."""
    paths = [path for path, _ in known]
    near = [path for path in paths if path.partition(".")[0] == where.path[0]]
    return wording.either(f"`{path}`" for path in near or paths)


def _all_methods() -> list[str]:
    sections = alternatives(Config.model_fields["merge"].annotation)
    return [method for section in sections for method in names(section)]
