"""Strategies and stopping criteria by name, from evomerge and from plug-ins.

A plug-in is named by its entry point or as `package.module:Class`, and imported only if named.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from evomerge.domain.errors import EvomergeError, PluginError
from evomerge.domain.settings import KeyPath, refuse
from evomerge.domain.value import Value

Plugin = TypeVar("Plugin", bound=Value)

_CLASS = re.compile(r"(?P<module>\w+(\.\w+)*):(?P<name>\w+(\.\w+)*)")


@dataclass(frozen=True)
class Registry(Generic[Plugin]):
    """The classes that a config can use by name.

    Attributes:
        what: what they are, with an article, for messages: `a strategy`.
        base: their base class.
        own: evomerge's classes by name.
        group: the group of entry points.
    """

    what: str
    base: type[Plugin]
    own: Mapping[str, type[Plugin]]
    group: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of evomerge's own classes and of installed entry points."""
        return (*self.own, *sorted(metadata.entry_points(group=self.group).names))

    def find(self, name: str, at: KeyPath = ()) -> type[Plugin]:
        """The class called `name`.

        Args:
            at: path of the name within the validated value, for errors.

        Raises:
            PydanticCustomError: it does not exist, or cannot be imported or used.
        """
        if name in self.own:
            return self.own[name]
        if ":" in name:
            return self._imported(name, at)
        places = sorted({each.value for each in metadata.entry_points(group=self.group, name=name)})
        if not places:
            context = {"at": at, "names": self.names}
            raise PydanticCustomError("unknown_name", "unknown name", context)
        if len(places) > 1:
            refuse((at, f"{name!r} is ambiguous: write one of {', '.join(places)}"))
        return self._imported(places[0], at)

    def _imported(self, place: str, at: KeyPath) -> type[Plugin]:
        spelled = _CLASS.fullmatch(place)
        if spelled is None:
            refuse((at, f"expected package.module:Class, got {place[:80]!r}"))
        try:
            module = importlib.import_module(spelled["module"])
        except ModuleNotFoundError as error:
            remedy = "install the package that has it next to evomerge, or add it to PYTHONPATH"
            refuse((at, f"cannot import {place}: there is no module {error.name!r}; {remedy}"))
        except (Exception, SystemExit) as error:  # third-party code can raise anything
            cause = f"{type(error).__name__}: {error}".splitlines()[0]
            remedy = f"`python -c 'import {spelled['module']}'` shows where"
            refuse((at, f"cannot import {place}: {cause}; {remedy}"))
        try:
            found = functools.reduce(getattr, spelled["name"].split("."), module)
        except AttributeError:
            refuse((at, f"{place}: the module has no {spelled['name']}"))
        return self._usable(found, place, at)

    def _usable(self, found: Any, place: str, at: KeyPath) -> type[Plugin]:
        if not (isinstance(found, type) and issubclass(found, self.base)):
            base = f"{self.base.__module__}.{self.base.__name__}"
            refuse((at, f"{place} is not {self.what}: it is not a subclass of {base}"))
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            refuse((at, f"{place} is not a complete class: it lacks {', '.join(missing)}"))
        for name, own in self.own.items():
            if found is own:
                refuse((at, f"{place} is part of evomerge: write {name}"))
        return found

    def provider(self, plugin: Plugin) -> dict[str, str]:
        """Name and version of the distribution that provides `plugin`; empty for evomerge's own.

        For modules without a distribution, the digest of the file.
        """
        kind = type(plugin)
        if kind in self.own.values():
            return {}
        package = kind.__module__.partition(".")[0]
        if names := metadata.packages_distributions().get(package):
            return {name: metadata.version(name) for name in sorted(set(names))}
        content = Path(sys.modules[kind.__module__].__file__ or "").read_bytes()
        return {kind.__module__: f"sha256 {hashlib.sha256(content).hexdigest()[:16]}"}


@contextmanager
def blamed(plugin: Value) -> Iterator[None]:
    """Attribute errors to `plugin`, unless it is evomerge's own.

    Raises:
        PluginError: with the class, and the file and line of its package where it raised.
    """
    try:
        yield
    except EvomergeError:
        raise
    except Exception as error:
        kind = type(plugin)
        package = kind.__module__.partition(".")[0]
        if package == __package__:
            raise
        folder = Path(sys.modules[kind.__module__].__file__ or "").parent
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if folder in Path(frame.filename).parents]
        where = f"{theirs[-1].filename}:{theirs[-1].lineno}: " if theirs else ""
        cause = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
        raise PluginError(f"{where}{kind.__module__}:{kind.__qualname__} raised {cause}") from error


def validated(
    kind: type[Plugin],
    options: Mapping[str, Any],
    info: ValidationInfo,
    at: KeyPath = (),
    main: str | None = None,
) -> Plugin:
    """Validate `options` as a `kind`.

    Args:
        at: path of the options within the validated value, for errors.
        main: the option whose value is at that path instead, if any.

    Raises:
        PydanticCustomError: with all faults and their paths.
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
        context = {"text": str(error), "at": at, "errors": faults, "section": kind}
        raise PydanticCustomError("within", "{text}", context) from error
