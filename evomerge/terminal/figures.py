"""Formatting of numbers and names, shared by all output."""

from __future__ import annotations

import math

from rich.text import Text

from evomerge.domain.guard import shown
from evomerge.domain.kinship import Metric
from evomerge.domain.model import Model
from evomerge.domain.scores import Split, TaskScore
from evomerge.views.intervals import half_width

MISSING = "–"
"""Placeholder for an unknown or undefined number."""


def printable(text: str) -> str:
    """`text` on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def spelled(text: str, style: str = "") -> Text:
    """`text` for rich: literal (no markup), on one line, truncated with an ellipsis."""
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")


def points(value: float | None, stderr: float | None = None) -> str:
    """A score in points, with half its 95 % interval where that is known: `71.30 ± 2.4`."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if stderr is None else f"{value:.2f} ± {half_width(stderr):.1f}"


def score(model: Model, split: Split = "selection") -> str:
    """The score of a model with half its 95 % interval."""
    text = points(*(model.estimate(split) or (None,)))
    return text + (" estimated" if model.race and split == "selection" else "")


def task_points(task: TaskScore, with_error: bool = False) -> str:
    """One task's score: `90.0`, or with half its 95 % interval `90.0 ± 1.5`."""
    error = "" if task.stderr is None or not with_error else f" ± {half_width(task.stderr):.1f}"
    return f"{task.value:.1f}{error}"


def perplexity(model: Model) -> str:
    """The perplexity of a model on the guard's text."""
    return MISSING if model.perplexity is None else shown(model.perplexity)


def gain(value: float | None) -> str:
    """A difference of scores in points with its sign; `0.00` if it rounds to zero."""
    if value is None:
        return MISSING
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}"


def gain_style(value: float | None) -> str:
    """The style of a difference; the sign carries the same information without colours."""
    if value is None or abs(value) < 0.005:
        return "dim"
    return "green" if value > 0 else "red"


def kinship(value: float | None, metric: Metric, error: float | None = None) -> str:
    """A kinship: two decimals for similarities, three digits for distances.

    An estimate is marked and has its interval: `~0.872 ±.003`.
    """
    if value is None:
        return MISSING
    if error:
        number = f"{value:.4g}" if metric is Metric.EUCLIDEAN else f"{value:.3f}"
        return f"~{number} ±{kinship_error(error, metric)}"
    if metric is Metric.EUCLIDEAN:
        return f"{value:.3g}"
    return f"{0.0 if abs(value) < 0.005 else value:.2f}"


def kinship_error(error: float, metric: Metric) -> str:
    """Half an interval, rounded up so that it never looks smaller than it is: `.001`, `.02`."""
    if metric is Metric.EUCLIDEAN:
        digits = 1 - math.floor(math.log10(error))
        return f"{math.ceil(error * 10**digits) / 10**digits:g}"
    rounded = math.ceil(error * 1000) / 1000
    return f"{rounded:.3f}".removeprefix("0")


def parents(names: tuple[str, ...]) -> str:
    """The parents of a merge in merge order: `a × b`."""
    return " × ".join(names)


def clock(seconds: float) -> str:
    """Elapsed time: `00:41`, `1:02:03`, `2d 01:02:03`."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def duration(seconds: float) -> str:
    """A duration with a suitable unit: `4.2 s`, `42 s`, `12 min`, `3.4 h`, `5 days`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 172_800:
        return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} days"


def money(amount: float) -> str:
    """An amount of money in the currency of its price: `4.10`, `1200`."""
    return f"{amount:.2f}" if amount < 100 else f"{amount:.0f}"


def size(count: float | None) -> str:
    """A number of bytes: `1.2 GB`, `3.4 kB`."""
    if count is None:
        return MISSING
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.1f} kB" if count else "0"


def rate(per_second: float) -> str:
    """A rate in at most seven columns: `24 G/s`, `1234/s`, `12.3/s`, `4.2/min`, `3.1/h`."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if per_second >= 10 * scale:
            return f"{per_second / scale:.0f} {unit}/s"
    if per_second >= 0.95:
        return f"{per_second:.0f}/s" if per_second >= 99.5 else f"{per_second:.1f}/s"
    a_minute = per_second * 60
    return f"{a_minute:.1f}/min" if a_minute >= 0.95 else f"{a_minute * 60:.1f}/h"


def fetched(done: int, total: int) -> str:
    """How much of a file is here: `1.23 of 9.94 GB`, `12 of 40 MB`, `3 of 9 kB`."""
    if total >= 1e9:
        return f"{done / 1e9:.2f} of {total / 1e9:.2f} GB"
    unit, scale = ("MB", 1e6) if total >= 1e7 else ("kB", 1e3)
    return f"{done / scale:.0f} of {total / scale:.0f} {unit}"


def progress(done: int, total: int) -> str:
    """Progress in at most nine columns: `12/300`, or `41 %` if large; "" if total is unknown."""
    if total <= 0:
        return ""
    return f"{done}/{total}" if total < 10_000 else f"{100 * done // total} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 merge`, `2 merges`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
