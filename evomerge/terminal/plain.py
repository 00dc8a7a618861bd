"""Progress as lines of text, for logs, pipes and terminals that cannot redraw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import IO, Self

from rich.cells import cell_len
from rich.console import Console

from evomerge.domain.events import Event, GenerationProposed, RunFinished
from evomerge.domain.model import Model
from evomerge.domain.state import RunState
from evomerge.terminal.figures import clock, fetched, printable
from evomerge.terminal.sentences import Sentence, sentences
from evomerge.terminal.summary import summary

HEARTBEAT = 600.0
"""Seconds between two progress lines of one task."""

_ASCII = str.maketrans({"±": "+-", "×": "x", "–": "-", "…": "...", "─": "-", "│": "|"})
_SUMMARY_WIDTH = 100


class PlainReporter:
    """An `Observer` that writes one line per event.

        [00:41] gen 2  scored    model-2-1  71.30 ± 1.2  over parents +2.10  (sort 52.5, copy 90.1)

    The time is the time spent on the run, without pauses. Write errors of the stream are ignored,
    so that they never end the run. Thread-safe.
    """

    def __init__(
        self,
        stream: IO[str],
        heartbeat: float = HEARTBEAT,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._heartbeat = heartbeat
        self._now = now
        self._lock = Lock()
        self._mentioned: dict[tuple[str, str], float] = {}
        self._state: RunState | None = None
        self._name_width = 0
        self._state_at = 0.0
        self._broken = False
        self._began = now()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def checking(self, what: str) -> None:
        """Write which check is in progress before the run starts or resumes."""
        with self._lock:
            sentence = Sentence("run", "checking", "", printable(what))
            self._write(line(sentence, self._now() - self._began) + "\n")

    def noted(self, note: str) -> None:
        """Write a note; an empty one is ignored."""
        with self._lock:
            if note:
                elapsed = 0.0 if self._state is None else self._state.seconds
                self._write(line(Sentence("run", "note", "", printable(note)), elapsed) + "\n")

    def behind(self, seconds: float) -> None:
        """Set the age of the last event in seconds."""
        with self._lock:
            self._state_at = self._now() - seconds

    def on_event(self, event: Event, state: RunState) -> None:
        """Write the lines of `event`, and the summary after the last event of the run."""
        with self._lock:
            if self._state is None:
                self._make_room(state.models.values())
            elif isinstance(event, GenerationProposed):
                self._make_room(state.at_generation(event.generation))
            self._state, self._state_at = state, self._now()
            for sentence in sentences(event, state):
                self._write(line(sentence, state.seconds, self._name_width) + "\n")
            if isinstance(event, RunFinished):
                self._write("\n" + self._rendered(state))

    def on_progress(
        self,
        model: str,
        activity: str,
        done: int,
        total: int,
        host: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Write a progress line for long tasks, once per heartbeat."""
        with self._lock:
            key, now = (model, activity), self._now()
            heartbeat = self._heartbeat / 10 if activity == "fetch" else self._heartbeat
            if 0 < total <= done:
                self._mentioned.pop(key, None)
            elif now - self._mentioned.setdefault(key, now) >= heartbeat:
                self._mentioned[key] = now
                self._write(self._still(model, activity, done, total, now, host) + "\n")

    def _make_room(self, models: Iterable[Model]) -> None:
        """Let the column of names be as wide as the names of these models, within reason."""
        widths = (cell_len(printable(model.name)) for model in models)
        self._name_width = min(24, max(self._name_width, *widths, 0))

    def _still(
        self, model: str, activity: str, done: int, total: int, now: float, host: str
    ) -> str:
        state = self._state
        member = None if state is None else state.models.get(model)
        generation = f"gen {member.generation}" if member else "run"
        elapsed = 0.0 if state is None else state.seconds + now - self._state_at
        share = f"{done * 100 // total} %  ({done} of {total})" if total > 0 else str(done)
        detail = f"{activity} {fetched(done, total) if activity == 'fetch' else share}"
        detail += f" on {printable(host)}" if host else ""
        return line(Sentence(generation, "working", model, detail), elapsed, self._name_width)

    def _rendered(self, state: RunState) -> str:
        console = Console(
            width=_SUMMARY_WIDTH,
            color_system=None,
            force_terminal=False,
            force_jupyter=False,  # it would display an empty output
            highlight=False,
        )
        with console.capture() as captured:
            console.print(summary(state))
        return "".join(text.rstrip() + "\n" for text in captured.get().splitlines())

    def _write(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        if "utf" not in encoding.lower():
            text = text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
        if self._broken:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # broken pipe, or a closed stream
            self._broken = True


def line(sentence: Sentence, elapsed: float, name_width: int = 0) -> str:
    """One event as one line, its columns aligned with those of other lines."""
    model = printable(sentence.model)
    if model:
        model += " " * (name_width - cell_len(model)) + "  "
    text = f"[{clock(elapsed)}] {sentence.where:<6} {sentence.verb:<8}  {model}{sentence.detail}"
    return "".join(c if c.isprintable() else " " for c in text).rstrip()
