"""Lineages as Mermaid flowcharts, for Markdown and the model card.

Labels are escaped, so that no name can end or inject syntax.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from evomerge.domain.lineage import ancestors, merge_gain
from evomerge.domain.model import Colour, Model
from evomerge.domain.state import RunState
from evomerge.strategies import merge_kinds
from evomerge.terminal import figures
from evomerge.terminal.figures import printable
from evomerge.terminal.tables import KEPT_OUT, parents_kinship

_FAILED = "failed"
_INK = "#1b2129"
_RED = "#b3261e"
_FILL_AND_STROKE: Mapping[Colour, tuple[str, str]] = {
    "blue": ("#dbeaf6", "#0069a8"),
    "orange": ("#fbe6d8", "#c65102"),
    "green": ("#dcefe8", "#00805e"),
    "pink": ("#f4e3ef", "#a9488a"),
    "sky": ("#e2f0fa", "#3a96cf"),
    "yellow": ("#f5ecd6", "#a87900"),
}
_NEUTRAL = ("#eef0f2", "#5b6672")


def members_of(state: RunState, model: str | None) -> tuple[str, ...]:
    """A model and its ancestors, or all models if None, in the run's order."""
    if model is None:
        return tuple(state.models)
    wanted = {model, *ancestors(model, state.models)}
    return tuple(name for name in state.models if name in wanted)


def mermaid(state: RunState, names: Collection[str]) -> str:
    """A Mermaid flowchart of the models `names`, parents above children.

    Exploration merges have dashed edges, the best model a thick frame.
    """
    ids = {name: f"m{place}" for place, name in enumerate(names)}
    lines = ["flowchart TB"]
    for name, node in ids.items():
        model = state.models[name]
        text = "<br/>".join(_mermaid_text(line) for line in _label(model, state))
        lines.append(f'  {node}["{text}"]:::{_kind(model)}')
    for parent, model in _edges(state, ids):
        arrow = "-.->" if model.kind == "exploration" else "-->"
        lines.append(f"  {ids[parent]} {arrow} {ids[model.name]}")
    for kind in dict.fromkeys(_kind(state.models[name]) for name in names):
        fill, stroke = _colours(kind, state)
        ink = f"{_RED},stroke-dasharray:4 3" if kind == _FAILED else _INK
        lines.append(f"  classDef {kind} fill:{fill},stroke:{stroke},color:{ink}")
    if state.best is not None and state.best.name in ids:
        lines.append(f"  style {ids[state.best.name]} stroke-width:4px")
    return "\n".join(lines) + "\n"


def _edges(state: RunState, names: Collection[str]) -> Iterator[tuple[str, Model]]:
    for name in names:
        model = state.models[name]
        for parent in model.parents:
            if parent in names:
                yield parent, model


def _kind(model: Model) -> str:
    return _FAILED if model.failure or model.kept_out else model.kind


def _colours(kind: str, state: RunState) -> tuple[str, str]:
    """Fill and stroke; neutral ones for foundation models and for kinds that nobody describes."""
    if kind == _FAILED:
        return "#fefefe", _RED
    described = merge_kinds(state.start).get(kind)
    return _FILL_AND_STROKE[described.colour] if described else _NEUTRAL


def _label(model: Model, state: RunState) -> list[str]:
    """Name; score; perplexity; gain over the parents and their kinship."""
    lines = [model.name]
    if model.failure is not None:
        return [*lines, f"failed: {model.failure.stage}"]
    lines.append(figures.score(model) if model.scores else "not scored yet")
    if model.perplexity is not None:
        lines.append(f"perplexity {figures.perplexity(model)}")
    lines += [KEPT_OUT] if model.kept_out else []
    if model.parents:
        gain = figures.gain(merge_gain(model, state.models))
        kin = figures.kinship(parents_kinship(model), state.start.metric)
        lines.append(f"over parents {gain}, kinship {kin}")
    return lines


def _mermaid_text(text: str) -> str:
    """`text` in quotes, special characters as Mermaid's `#code;` entities."""
    return "".join(
        c if c.isalnum() or c in " .,:±+-–_×()" else f"#{ord(c)};" for c in printable(text)
    )
