"""Items that a model gained and lost against its parents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from evomerge.flips import Flip, TaskFlips
from evomerge.terminal.columns import Fitted, numbers, words
from evomerge.terminal.figures import MISSING, printable, spelled

_PROMPT = 60  # characters of a question's end, and of an answer


def flips_view(tasks: Sequence[TaskFlips]) -> RenderableType:
    """A table with one row per task, then the examples."""
    told = [task for task in tasks if task.missing is None]
    parts: list[RenderableType] = [_table(told)] if told else []
    parts += [
        Text(f"{printable(task.task)}: {printable(task.missing)}", style="yellow")
        for task in tasks
        if task.missing is not None
    ]
    for task in told:
        parts += [Text(""), *_examples(task)] if task.examples else []
    return Group(*parts)


def _table(tasks: Sequence[TaskFlips]) -> Fitted:
    return Fitted(
        [
            words("against its parents", (task.task for task in tasks)),
            numbers("items", (spelled(str(task.items), "dim") for task in tasks)),
            numbers("right, all parents wrong", (spelled(str(t.won), _won(t)) for t in tasks)),
            numbers("wrong, a parent right", (spelled(str(t.lost), _lost(t)) for t in tasks)),
        ]
    )


def _won(task: TaskFlips) -> str:
    return "green" if task.won else "dim"


def _lost(task: TaskFlips) -> str:
    return "red" if task.lost else "dim"


def _examples(task: TaskFlips) -> Iterator[Text]:
    yield Text(printable(task.task), style="dim")
    for flip in task.examples:
        style = "green" if flip.change == "won" else "red"
        line = Text.assemble("  ", (f"{flip.change:<4}", style), f"  item {flip.item}  ")
        line.append(_end(flip.prompt), "bold")
        yield line.append(f"  wanted {_start(flip.target)}")
        yield Text(f"        {_given(flip)}", style="dim")


def _given(flip: Flip) -> str:
    return "  ".join(f"{printable(n)}: {_start(text)}" for n, text in flip.given.items())


def _start(text: str) -> str:
    shown = printable(text)
    return (shown if len(shown) <= _PROMPT else f"{shown[:_PROMPT]}…") or MISSING


def _end(text: str) -> str:
    shown = printable(text)
    return (shown if len(shown) <= _PROMPT else f"…{shown[-_PROMPT:]}") or MISSING
