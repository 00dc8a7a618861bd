"""Formatting of names and numbers in reports."""

from __future__ import annotations

from collections.abc import Iterable

from evomerge.analysis.correlation import Correlation
from evomerge.domain.kinship import Metric

METRICS = {
    Metric.PCC: "Pearson correlation of weight deltas",
    Metric.COSINE: "cosine of weight deltas",
    Metric.EUCLIDEAN: "Euclidean distance of weight deltas: higher is more distant",
}


def estimates_line(errors: Iterable[float]) -> str:
    """What a caption says of estimates; empty without any."""
    widest = max(errors, default=0.0)
    if not widest:
        return ""
    return (
        " ~ is estimated from stored samples of the weights, by no more than "
        f"±{widest:.2g} (95 of 100 lie within); `evomerge kinship RUN --exact` measures."
    )


def probability(p: float | None) -> str:
    """A formatted p value: `p = 0.06`, `p < 0.001`."""
    if p is None:
        return "p –"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def correlation(found: Correlation) -> str:
    """A correlation in one line."""
    if found.r is None:
        return f"no correlation defined (n = {found.n})"
    text = f"r = {minus(found.r)}"
    if found.low is not None and found.high is not None:
        text += f" [{minus(found.low)}, {minus(found.high)}]"
    return f"{text}, {probability(found.p)}, n = {found.n}"


def minus(value: float, digits: int = 2) -> str:
    """A number with a typographic minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")
