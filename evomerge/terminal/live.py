"""The live view of a run, redrawn in place, for interactive terminals."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.text import Text

from evomerge.domain.events import Event
from evomerge.domain.state import RunState
from evomerge.terminal.activity import Activity, Job, seconds_left
from evomerge.terminal.dashboard import Dashboard, Scene
from evomerge.terminal.figures import clock, duration, fetched, printable, spelled
from evomerge.terminal.sentences import Sentence, sentences
from evomerge.terminal.summary import summary

_FRAMES = 4  # per second: smooth enough, with negligible load
_KEPT_EVENTS = 12


class LiveReporter:
    """An `Observer` and context manager that shows a run live and leaves the summary at exit.

    Output and logs of other threads appear above the frame. Drawing happens in a separate thread,
    so a blocked terminal does not block the run.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._now = now
        self._lock = Lock()
        self._activity = Activity(now)
        self._events: deque[tuple[float, Sentence]] = deque(maxlen=_KEPT_EVENTS)
        self._state: RunState | None = None
        self._began = self._state_at = now()
        self._checking = ""
        self._note = ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._live = _SteadyLive(
            console=self._console,
            get_renderable=self.render,
            refresh_per_second=_FRAMES,
            transient=True,
            vertical_overflow="crop",
        )
        self._stack.enter_context(self._live)
        self._stack.enter_context(_logs_above())
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        if self._state is not None:
            self._console.print(summary(self._state))

    def checking(self, what: str) -> None:
        """Show which check is in progress before the run starts or resumes."""
        with self._lock:
            self._checking = what

    def noted(self, note: str) -> None:
        """Show a note and drop the jobs in progress; an empty note clears it."""
        with self._lock:
            self._note = note
        if note:
            self._activity.nothing()

    def behind(self, seconds: float) -> None:
        """Set the age of the last event in seconds."""
        with self._lock:
            self._state_at = self._now() - seconds

    def on_event(self, event: Event, state: RunState) -> None:
        """Record an event; it appears in the next frame."""
        self._activity.on_event(event)
        gist = sentences(event, state)[0]
        with self._lock:
            self._state, self._state_at = state, self._now()
            self._events.append((state.seconds, gist))

    def on_progress(
        self,
        model: str,
        activity: str,
        done: int,
        total: int,
        host: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Record progress. Thread-safe."""
        self._activity.on_progress(model, activity, done, total, host, seconds)

    def render(self) -> RenderableType:
        """The current frame."""
        with self._lock:
            state, since = self._state, self._now() - self._state_at
            events, checking, note = tuple(self._events), self._checking, self._note
        if state is None:
            return self._waiting(note, checking)
        return Dashboard(
            Scene(
                state=state,
                jobs=self._activity.jobs(),
                slots=self._activity.widest,
                events=events,
                elapsed=state.seconds + (0.0 if note else since),
                left=None if note else seconds_left(state, self._activity),
                note=note,
            )
        )

    def _waiting(self, note: str, checking: str) -> RenderableType:
        """What is checked and fetched, shown before the first event."""
        if note:
            return spelled(note, "yellow")
        elapsed = clock(self._now() - self._began)
        line = Text.assemble(
            (f"{elapsed}  ", "dim"),
            (f"checking {printable(checking)}" if checking else "starting"),
            no_wrap=True,
            overflow="ellipsis",
        )
        return Group(line, *map(_fetching, self._activity.jobs()))


def _fetching(job: Job) -> Text:
    """A file on its way from the hub: bytes, rate and how long it still takes."""
    parts = [f"  {printable(job.model)}", fetched(job.done, job.total)]
    left = job.total - job.done
    if job.rate is not None:
        parts += [f"{job.rate / 1e6:.1f} MB/s", f"{duration(left / job.rate)} left"]
    return Text("  ".join(parts), no_wrap=True, overflow="ellipsis")


class _SteadyLive(Live):
    """A live display that handles a change of the terminal's width.

    The terminal rewraps the lines of the last frame, so its height is no longer known and the
    screen has to be cleared.
    """

    _width: int | None = None

    def refresh(self) -> None:
        """Draw the next frame; clear the screen first if the width changed."""
        width = self.console.width
        if self._width not in (None, width) and self.is_started:
            self.console.control(Control.home(), Control.clear())
        self._width = width
        super().refresh()


@contextmanager
def _logs_above() -> Iterator[None]:
    """Redirect log handlers that hold the real stderr or stdout to above the frame.

    They were created before the live display replaced these streams.
    """
    real = {sys.__stderr__: sys.stderr, sys.__stdout__: sys.stdout}
    moved: list[tuple[logging.StreamHandler[Any], Any]] = []
    names = [None, *logging.root.manager.loggerDict]
    for name in names:
        for handler in logging.getLogger(name).handlers:
            stream = getattr(handler, "stream", None)
            if isinstance(handler, logging.StreamHandler) and stream in real:
                moved.append((handler, handler.setStream(real[stream])))
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
