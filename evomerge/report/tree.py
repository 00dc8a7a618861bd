"""The family tree as a figure (Figure 6b of the paper)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from evomerge.analysis.merges import parents_kinship
from evomerge.domain.lineage import merge_gain
from evomerge.domain.model import Model
from evomerge.domain.state import RunState
from evomerge.report import palette
from evomerge.report.family import Family, family
from evomerge.report.figure import Figure, Links, Value
from evomerge.report.subject import Subject
from evomerge.report.wording import elided
from evomerge.strategies import merge_kinds
from evomerge.terminal import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# All in inches.
_WIDTH = 11.5
_MARGIN = 1.15  # left margin, for the generation labels
_PITCH = 1.12  # distance between rows
_BOX = (1.12, 0.46)
_NARROWEST = 0.8
_GAP = 0.10
_STEM = 0.24  # from the joint of the parents' edges down to the child
_TOP = 0.55


def family_tree(subject: Subject) -> Figure:
    """Generations from top to bottom, with the best model's lineage highlighted."""
    state = subject.state
    tree = family(state)
    rows: list[tuple[Value, ...]] = []
    for model in state.models.values():
        kinship = parents_kinship(model, state).get(state.start.metric) if model.parents else None
        rows.append(
            (
                model.generation,
                model.name,
                model.kind,
                " × ".join(model.parents),
                kinship,
                model.score,
                merge_gain(model, state.models),
                int(model.name in subject.line),
                model.failure.reason if model.failure else model.kept_out,
            )
        )
    hidden = len(state.models) - len(tree.shown)
    kept_out = " Dotted red: kept out by the guard." if state.models.kept_out else ""
    left_out = (
        f" {hidden} of {len(state.models)} models are not shown: those with the lowest scores of "
        "each generation that are not ancestors of the best."
        if hidden
        else ""
    )
    widest = max((len(row.models) for row in tree.rows), default=1)
    width = max(_WIDTH, _MARGIN + widest * (_NARROWEST + _GAP) + 0.1)
    return Figure(
        name="family-tree",
        title="Family tree",
        caption=f"Boxes are coloured by score. {_lines(state)} Thick lines lead to the best "
        "model. The number at the joint of two parents is their kinship "
        f"({state.start.metric.value}).{kept_out}{left_out}",
        alt="the family tree of the run; the table of models has the same data",
        columns=(
            "generation",
            "model",
            "kind",
            "parents",
            "kinship",
            "score",
            "gain",
            "line_of_best",
            "failure",
        ),
        rows=rows,
        size=(width, _TOP + _PITCH * (len(tree.rows) - 1) + _BOX[1] + 0.1),
        paint=lambda canvas: _Tree(subject, tree, canvas).paint(),
    )


def _lines(state: RunState) -> str:
    """The legend of the line colours that occur."""
    looks = palette.looks(state)
    texts = [_line(kind, look) for kind, look in looks.items() if kind != "foundation"]
    if looks.keys() & _of_all(state):
        texts.append("These merge all foundation models: only the best one's lines are drawn.")
    return " ".join(texts)


def _line(kind: str, look: palette.Look) -> str:
    colour = {palette.MUTED: "grey"}.get(look.colour, palette.NAMES[look.colour])
    dashed = ", dashed" if kind == "exploration" else ""
    return f"{colour.capitalize()}{dashed}: {look.label}."


def _of_all(state: RunState) -> set[str]:
    return {name for name, kind in merge_kinds(state.start).items() if kind.of_all}


class _Tree:
    """Draws one tree; coordinates are inches from the bottom left."""

    def __init__(self, subject: Subject, tree: Family, canvas: Canvas) -> None:
        import matplotlib as mpl
        from matplotlib.colors import Normalize

        self._subject, self._tree, self._canvas = subject, tree, canvas
        self._width, self._height = canvas.get_size_inches()
        canvas.set_layout_engine("none")
        self._axes: Axes = canvas.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, self._width), ylim=(0, self._height))
        self._axes.axis("off")
        self._links: dict[str, str] = {}
        scores = [m.score for m in subject.state.models.values() if m.score is not None]
        low, high = min(scores, default=0.0), max(scores, default=1.0)
        self._norm = Normalize(low, max(high, low + 1e-9))
        self._colours = mpl.colormaps[palette.SCORES]
        self._places = self._all_places()
        self._looks, self._of_all = palette.looks(subject.state), _of_all(subject.state)

    def paint(self) -> Links:
        """Draw the edges, then the boxes over them."""
        for row, y in self._rows():
            self._label(row.generation, row.until, row.hidden, y, bool(row.models))
        numbers = {name: index for index, name in enumerate(self._subject.state.models)}
        for name in sorted(self._tree.shown, key=lambda name: (self._strong(name), numbers[name])):
            self._edges(self._subject.state.models[name])
        for name in sorted(self._tree.shown, key=numbers.__getitem__):
            self._box(self._subject.state.models[name], numbers[name])
        self._scale()
        return self._links

    def _rows(self) -> list[tuple[Any, float]]:
        top = self._height - _TOP - _BOX[1] / 2
        return [(row, top - index * _PITCH) for index, row in enumerate(self._tree.rows)]

    def _all_places(self) -> dict[str, tuple[float, float, float]]:
        """(x, y, width) of every box."""
        room = self._width - _MARGIN - 0.1
        places = {}
        for row, y in self._rows():
            slot = room / max(1, len(row.models))
            width = min(_BOX[0], slot - _GAP)
            spread = min(slot, _BOX[0] * 1.9) / slot  # a row with few models stays together
            for name in row.models:
                x = 0.5 + (self._tree.place[name] - 0.5) * spread
                places[name] = (_MARGIN + x * room, y, width)
        return places

    def _strong(self, name: str) -> bool:
        return name in self._subject.line

    def _label(self, generation: int, until: int | None, hidden: int, y: float, any_: bool) -> None:
        text = "foundation" if generation == 0 else f"gen {generation}"
        if until is not None and until > generation:
            text = f"gen {generation} to {until}"
        self._axes.text(0.08, y, text, va="center", color=palette.MUTED, fontsize=9)
        if hidden:
            what = f"+ {hidden} more" if any_ else f"{hidden} not shown"
            self._axes.text(0.08, y - 0.19, what, va="center", color=palette.MUTED, fontsize=7.5)

    def _edges(self, model: Model) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        strong = self._strong(model.name)
        if model.kind in self._of_all and not strong:
            return  # its edges from all foundation models would cross all rows above
        x, y, _ = self._places[model.name]
        child_top = y + _BOX[1] / 2
        joint = child_top + _STEM
        above = [self._places[p] for p in model.parents if p in self._places]
        for px, py, _ in above:
            stops = [(px, py - _BOX[1] / 2), *self._ways(px, py, x, y), (x, joint)]
            points, codes = [stops[0]], [Path.MOVETO]
            for (x0, y0), (x1, y1) in pairwise(stops):
                bend = max(0.15, (y0 - y1) * 0.5)
                points += [(x0, y0 - bend), (x1, y1 + bend), (x1, y1)]
                codes += [Path.CURVE4] * 3
            edge = PathPatch(
                Path([*points, (x, child_top)], [*codes, Path.LINETO]),
                facecolor="none",
                edgecolor=palette.RED if _is_out(model) else self._looks[model.kind].colour,
                linewidth=2.2 if strong else 1.0,
                alpha=1.0 if strong else 0.4,
                linestyle=(0, (4, 2)) if model.kind == "exploration" else "-",
                capstyle="butt",
                zorder=2 if strong else 1,
            )
            self._axes.add_patch(edge)
        if above:
            self._kinship(model, x, joint, strong)

    def _ways(self, px: float, py: float, x: float, y: float) -> list[tuple[float, float]]:
        """Waypoints of an edge between the boxes of the rows that it crosses."""
        ways: list[tuple[float, float]] = []
        for row, level in self._rows():
            if not y + 0.01 < level < py - 0.01 or not row.models:
                continue
            straight = px + (x - px) * (py - level) / (py - y)
            boxes = sorted(self._places[name] for name in row.models)
            side = boxes[0][2] / 2 + _GAP
            free = [boxes[0][0] - side, boxes[-1][0] + side]
            free += [(a[0] + b[0]) / 2 for a, b in pairwise(boxes)]
            if free[0] < straight < free[1]:
                straight = min(free, key=lambda place: abs(place - straight))
            ways += [(straight, level + _BOX[1] / 2), (straight, level - _BOX[1] / 2)]
        return ways

    def _kinship(self, model: Model, x: float, joint: float, strong: bool) -> None:
        metric = self._subject.state.start.metric
        kinship = parents_kinship(model, self._subject.state).get(metric)
        if kinship is not None:
            self._axes.text(
                x,
                joint - 0.06,
                figures.kinship(kinship, metric).strip().replace("-", "−"),
                ha="center",
                va="center",
                fontsize=7.5,
                color=palette.INK if strong else palette.MUTED,
                bbox={"facecolor": palette.PAPER, "edgecolor": "none", "pad": 0.8},
                zorder=3,
            )

    def _box(self, model: Model, number: int) -> None:
        from matplotlib.patches import FancyBboxPatch

        x, y, width = self._places[model.name]
        strong = self._strong(model.name)
        fill: Any = palette.PAPER
        ink = palette.RED if _is_out(model) else palette.MUTED
        edge = self._looks[model.kind].colour if model.kind == "exploration" else palette.FAINT
        if model.score is not None and not _is_out(model):
            fill = red, green, blue, _ = self._colours(self._norm(model.score))
            ink = palette.readable_on(red, green, blue)
        gid = f"model-{number}"
        box = FancyBboxPatch(
            (x - width / 2, y - _BOX[1] / 2),
            width,
            _BOX[1],
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=fill,
            edgecolor=palette.RED if _is_out(model) else palette.INK if strong else edge,
            linewidth=2.0 if strong else 1.2,
            linestyle=":" if _is_out(model) else "-",
            zorder=4,
            gid=gid,
        )
        self._axes.add_patch(box)
        self._links[gid] = f"#m{number}"
        best = self._subject.state.best
        leading = best is not None and best.name == model.name
        letters = int(width / 0.078)
        what = (
            f"{model.score:.2f}" if model.score is not None else "failed" if model.failure else "…"
        )
        self._axes.text(
            x, y + 0.10, elided(("★ " if leading else "") + model.name, letters),
            ha="center", va="center", fontsize=8, color=ink, zorder=5,
            fontweight="bold" if strong else "normal",
        )  # fmt: skip
        self._axes.text(
            x, y - 0.10, what, ha="center", va="center", fontsize=8, color=ink, zorder=5
        )

    def _scale(self) -> None:
        """Draw the colour bar of scores above the tree."""
        from matplotlib.cm import ScalarMappable

        place = self._canvas.add_axes(
            (
                (self._width - 2.9) / self._width,
                1 - 0.16 / self._height,
                2.2 / self._width,
                0.1 / self._height,
            )
        )
        bar = self._canvas.colorbar(
            ScalarMappable(self._norm, self._colours), cax=place, orientation="horizontal"
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
        bar.locator = _few()
        bar.update_ticks()
        self._axes.text(
            self._width - 3.0, self._height - 0.11, "score", ha="right", va="center",
            color=palette.MUTED, fontsize=8,
        )  # fmt: skip


def _is_out(model: Model) -> bool:
    """Whether it failed, or the guard keeps it out."""
    return bool(model.failure or model.kept_out)


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4)
