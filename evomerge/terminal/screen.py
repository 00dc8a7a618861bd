"""Which way of showing a run suits the stream at hand."""

from __future__ import annotations

import sys
from typing import IO

from rich.console import Console

from evomerge.terminal.live import LiveReporter
from evomerge.terminal.plain import PlainReporter

_PIPED_WIDTH = 200  # a pipe has no edge: what is cut there is lost to grep


def reporter(stream: IO[str], plain: bool = False) -> LiveReporter | PlainReporter:
    """The live view on a terminal that can redraw, plain lines otherwise.

    Both are `Observer`s and context managers.

    Args:
        plain: plain lines in any case.
    """
    console = Console(file=stream, highlight=False)
    # rich takes FORCE_COLOR for a terminal; a log that keeps colours cannot redraw all the same
    redraws = stream.isatty() and console.is_terminal and not console.is_dumb_terminal
    return LiveReporter(console) if redraws and not plain else PlainReporter(stream)


def stdout_console() -> Console:
    """The console for data: as wide as the terminal, and wide enough for all columns in a pipe."""
    piped = not sys.stdout.isatty()
    return Console(width=_PIPED_WIDTH if piped else None, highlight=False)
