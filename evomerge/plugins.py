"""Strategies and stopping criteria by name: evomerge's own, and those of other packages.

A name that is none of evomerge's own is an entry point that an installed package declares, or says
where the class is: `package.module:Class`. Nothing is imported unless it is named.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from evomerge.domain.settings import KeyPath, refuse
from evomerge.domain.value import Value

Plugin = TypeVar("Plugin", bound=Value)

_CLASS = re.compile(r"(?P<module>\w+(\.\w+)*):(?P<name>\w+(\.\w+)*)")


@dataclass(frozen=True)
class Registry(Generic[Plugin]):
    """What a config can name in one place.

    Attributes:
        what: a word for it, with its article: `a strategy`.
        base: the class that all of them are subclasses of.
        own: evomerge's own classes by name.
        group: the entry points of other packages.
    """

    what: str
    base: type[Plugin]
    own: Mapping[str, type[Plugin]]
    group: str

    @property
    def names(self) -> tuple[str, ...]:
        """What can be named without saying where it is."""
        return (*self.own, *sorted(metadata.entry_points(group=self.group).names))

    def find(self, name: str, at: KeyPath = ()) -> type[Plugin]:
        """The class that `name` means; a fault is told at `at`.

        Raises:
            PydanticCustomError: there is none, or it cannot be imported or used.
        """
        if name in self.own:
            return self.own[name]
        if ":" in name:
            return self._imported(name, at)
        places = sorted({each.value for each in metadata.entry_points(group=self.group, name=name)})
        if not places:
            told = {"at": at, "names": self.names}
            raise PydanticCustomError("unknown_name", "unknown name", told)
        if len(places) > 1:
            refuse((at, f"{name!r} is several things: write one of {', '.join(places)}"))
        return self._imported(places[0], at)

    def _imported(self, place: str, at: KeyPath) -> type[Plugin]:
        spelled = _CLASS.fullmatch(place)
        if spelled is None:
            refuse((at, f"expected package.module:Class, got {place[:80]!r}"))
        try:
            module = importlib.import_module(spelled["module"])
        except ModuleNotFoundError as error:
            remedy = "install the package that has it beside evomerge, or put it on PYTHONPATH"
            refuse((at, f"cannot import {place}: there is no module {error.name!r}; {remedy}"))
        except (Exception, SystemExit) as error:  # whatever the code of others raises
            told = f"{type(error).__name__}: {error}".splitlines()[0]
            remedy = f"`python -c 'import {spelled['module']}'` shows where"
            refuse((at, f"cannot import {place}: {told}; {remedy}"))
        try:
            found = functools.reduce(getattr, spelled["name"].split("."), module)
        except AttributeError:
            refuse((at, f"{place}: the module has no {spelled['name']}"))
        return self._usable(found, place, at)

    def _usable(self, found: Any, place: str, at: KeyPath) -> type[Plugin]:
        if not (isinstance(found, type) and issubclass(found, self.base)):
            base = f"{self.base.__module__}.{self.base.__name__}"
            refuse((at, f"{place} is not {self.what}: it is no subclass of {base}"))
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            refuse((at, f"{place} is not {self.what} yet: it has no {', '.join(missing)}"))
        for name, own in self.own.items():
            if found is own:
                refuse((at, f"{place} is evomerge's own: write {name}"))
        return found

    def provider(self, plugin: Plugin) -> dict[str, str]:
        """The distribution that gives `plugin`, with its version; none for evomerge's own.

        Of a module that no distribution has, the digest of its file.
        """
        kind = type(plugin)
        if kind in self.own.values():
            return {}
        package = kind.__module__.partition(".")[0]
        if names := metadata.packages_distributions().get(package):
            return {name: metadata.version(name) for name in sorted(set(names))}
        content = Path(sys.modules[kind.__module__].__file__ or "").read_bytes()
        return {kind.__module__: f"sha256 {hashlib.sha256(content).hexdigest()[:16]}"}


def validated(
    kind: type[Plugin],
    options: Mapping[str, Any],
    info: ValidationInfo,
    at: KeyPath = (),
    main: str | None = None,
) -> Plugin:
    """`options` under the rules of `kind`.

    Args:
        at: where they stand in the value under validation.
        main: the option whose value alone stands there.

    Raises:
        PydanticCustomError: with every fault, each with its place.
    """
    try:
        if info.mode == "json":
            return kind.model_validate_json(json.dumps(options), strict=True)
        return kind.model_validate(options)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        for fault in faults:
            if main is not None and fault["loc"][:1] == (main,):
                fault["loc"] = fault["loc"][1:]
        told = {"told": str(error), "at": at, "errors": faults, "section": kind}
        raise PydanticCustomError("within", "{told}", told) from error
