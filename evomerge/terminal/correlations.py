"""Correlations of kinship and gain, and the stages of a search, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from evomerge.analysis.correlation import Correlation
from evomerge.analysis.series import Series
from evomerge.analysis.stages import RULE, Stages
from evomerge.terminal.columns import Fitted, numbers, words
from evomerge.terminal.figures import MISSING, count, gain, printable


def analysis_view(found: Sequence[Series]) -> RenderableType:
    """Each series with its correlations and, if known, its stages."""
    parts: list[RenderableType] = []
    for series in found:
        merges = count(len(series.rows), "merge")
        title = Text.assemble((printable(series.name), "bold"), f"  {merges}")
        parts += [title, correlation_table(series)]
        if series.stages is not None:
            parts += [stages_table(series.stages), Text(printable(series.stages.why))]
        parts.append("")
    if any(series.stages is not None for series in found):
        parts.append(Text(f"stages: {RULE}", style="dim"))
    parts.append(Text("intervals: 95 %, bootstrap over merges; p values: two-sided", style="dim"))
    return Group(*parts)


def correlation_table(series: Series) -> Fitted:
    """Correlations of kinship with gain and |gain|, two rows for each metric."""
    rows = [
        (metric if what == "gain" else "", what, found)
        for metric in series.metrics
        for what, found in zip(("gain", "|gain|"), series.correlations(metric), strict=True)
    ]
    found = [correlation for *_, correlation in rows]
    return Fitted(
        [
            words("kinship", (metric for metric, *_ in rows)),
            words("with", (what for _, what, _ in rows)),
            numbers("r", (_signed(each.r) for each in found)),
            numbers("interval", map(_interval, found)),
            numbers("p", (_chance(each.p) for each in found)),
            numbers("rho", (_signed(each.rho) for each in found)),
            numbers("p", (_chance(each.rho_p) for each in found)),
            numbers("n", (str(each.n) for each in found)),
        ]
    )


def stages_table(found: Stages) -> Fitted:
    """Learning and saturation: generations, rise, mean kinship and mean |gain|."""
    named = (("learning", found.learning), ("saturation", found.saturation))
    stages = [(name, stage) for name, stage in named if stage is not None]
    return Fitted(
        [
            words("stage", (name for name, _ in stages)),
            words("generations", (f"{stage.first}-{stage.last}" for _, stage in stages)),
            numbers("rise", (gain(stage.rise) for _, stage in stages)),
            numbers("kinship", (_plain(stage.kinship) for _, stage in stages)),
            numbers("|gain|", (_plain(stage.gain) for _, stage in stages)),
        ]
    )


def _interval(found: Correlation) -> str:
    if found.low is None or found.high is None:
        return MISSING
    return f"{found.low:+.2f} to {found.high:+.2f}"


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2f}"


def _plain(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _chance(p: float | None) -> str:
    return MISSING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
