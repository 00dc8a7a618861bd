"""Correlations of kinship and gain, and the stages of a search, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evomerge.analysis.correlation import Correlation
from evomerge.analysis.series import Series
from evomerge.analysis.stages import RULE
from evomerge.terminal.figures import MISSING, count, gain, printable


def analysis_view(found: Sequence[Series]) -> RenderableType:
    """Each series with its correlations and, if known, its stages."""
    parts: list[RenderableType] = []
    for series in found:
        merges = count(len(series.rows), "merge")
        parts += [Text.assemble((printable(series.name), "bold"), f"  {merges}"), _table(series)]
        if series.stages is not None:
            parts.append(_stages(series))
        parts.append("")
    if any(series.stages is not None for series in found):
        parts.append(Text(f"stages: {RULE}", style="dim"))
    parts.append(Text("intervals: 95 %, bootstrap over merges; p values: two-sided", style="dim"))
    return Group(*parts)


def _table(series: Series) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("kinship")
    table.add_column("with")
    for head in ("r", "interval", "p", "rho", "p", "n"):
        table.add_column(head, justify="right", no_wrap=True)
    for metric in series.metrics:
        plain, absolute = series.correlations(metric)
        table.add_row(metric, "gain", *_cells(plain))
        table.add_row("", "|gain|", *_cells(absolute))
    return table


def _cells(found: Correlation) -> list[str]:
    interval = MISSING
    if found.low is not None and found.high is not None:
        interval = f"{found.low:+.2f} to {found.high:+.2f}"
    return [
        _signed(found.r), interval, _chance(found.p), _signed(found.rho), _chance(found.rho_p),
        str(found.n),
    ]  # fmt: skip


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2f}"


def _chance(p: float | None) -> str:
    return MISSING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _stages(series: Series) -> Text:
    found = series.stages
    if found is None:
        return Text("")
    lines = []
    for name, stage in (("learning", found.learning), ("saturation", found.saturation)):
        if stage is None:
            continue
        kinship = MISSING if stage.kinship is None else f"{stage.kinship:.2f}"
        size = MISSING if stage.gain is None else f"{stage.gain:.2f}"
        lines.append(
            f"{name:<10} generations {stage.first}-{stage.last}  rise {gain(stage.rise)}  "
            f"kinship {kinship}  |gain| {size}"
        )
    return Text("\n".join([*lines, printable(found.why)]))
