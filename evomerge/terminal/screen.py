"""Choice of the progress view for a stream."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from io import StringIO
from typing import IO

from rich.console import Console

from evomerge.terminal.live import LiveReporter
from evomerge.terminal.plain import PlainReporter

_PIPED_WIDTH = 200  # wide enough for all columns: a truncated cell could not be grepped


def reporter(
    stream: IO[str], plain: bool = False, silent: bool = False
) -> LiveReporter | PlainReporter:
    """The live view on a terminal that can redraw and in a notebook, otherwise plain lines.

    Both are `Observer`s and context managers. rich draws in a notebook through ipywidgets.

    Args:
        plain: always use plain lines.
        silent: show nothing.
    """
    if silent:
        return PlainReporter(StringIO())
    if not plain and _in_a_notebook():
        return LiveReporter(Console(highlight=False, force_jupyter=True))
    console = Console(file=stream, highlight=False)
    # rich treats FORCE_COLOR as a terminal, but a log file with colours cannot redraw
    redraws = stream.isatty() and console.is_terminal and not console.is_dumb_terminal
    return LiveReporter(console) if redraws and not plain else PlainReporter(stream)


def _in_a_notebook() -> bool:
    """Whether this is a Jupyter kernel that can redraw."""
    shell = sys.modules.get("IPython")
    kernel = shell and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
    return bool(kernel) and find_spec("ipywidgets") is not None


def stdout_console() -> Console:
    """The console for stdout: as wide as the terminal, or 200 columns in a pipe."""
    piped = not sys.stdout.isatty()
    return Console(width=_PIPED_WIDTH if piped else None, highlight=False)
