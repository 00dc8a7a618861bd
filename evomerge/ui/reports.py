"""What the report shows of a run, computed again when the run has changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from evomerge.report.figure import Figure
from evomerge.report.reading import read_view
from evomerge.report.run_page import content
from evomerge.ui.watching import Seen
from evomerge.views.run import RunView

_KEPT = 12
"""Runs and comparisons that are kept; those used longest ago go first."""

Content = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Drawn:
    """A figure with its specification as text, which takes longer than all the rest of a page."""

    name: str
    title: str
    caption: str
    alt: str
    fluid: bool
    spec: str

    def themed_spec(self) -> str:
        """As `Figure.themed_spec`."""
        return self.spec


class Reports:
    """The contents of reports by run and version. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[object, Any] = OrderedDict()

    def view(self, seen: Seen) -> RunView:
        """The view of a run that has started."""
        return self.once(("view", *_version(seen)), partial(_view, seen))

    def content(self, seen: Seen) -> Content:
        """What `report.html` shows of a run that has started."""
        view = self.view(seen)
        return self.once(("report", *_version(seen)), partial(_content, view))

    def once(self, key: object, compute: Callable[[], T]) -> T:
        """The value of `compute()`, which is kept under `key`."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = compute()
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            found: T = self._kept[key]
            return found


def drawn(figure: Figure) -> Drawn:
    """A figure with its specification."""
    return Drawn(
        figure.name,
        figure.title,
        figure.caption,
        figure.alt,
        figure.fluid,
        figure.themed_spec(),
    )


def _version(seen: Seen) -> tuple[object, ...]:
    return seen.run.path, seen.length, seen.phase


def _view(seen: Seen) -> RunView:
    return read_view(seen.run, seen.entries[: seen.length], seen.phase == "running")


def _content(view: RunView) -> Content:
    from evomerge.report.charts import figures_of

    found = content(view, figures_of(view))
    sections = [(anchor, title, [*map(drawn, each)]) for anchor, title, each in found["sections"]]
    return {**found, "sections": sections}
