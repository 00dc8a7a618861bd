"""Family trees as text for other tools: Mermaid (Markdown, GitHub) and DOT (Graphviz).

Names and figures are data there: whatever a label holds is spelled so that it cannot end it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from evomerge.domain.lineage import ancestors, merge_gain
from evomerge.domain.model import Kind, Model
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.figures import printable
from evomerge.terminal.tables import parents_kinship

_MERMAID: Mapping[Kind | Literal["failed"], str] = {
    "foundation": "fill:#eef0f2,stroke:#5b6672,color:#1b2129",
    "greedy": "fill:#dbeaf6,stroke:#0069a8,color:#1b2129",
    "exploration": "fill:#fbe6d8,stroke:#c65102,color:#1b2129",
    "grid": "fill:#dcefe8,stroke:#00805e,color:#1b2129",
    "search": "fill:#f4e3ef,stroke:#a9488a,color:#1b2129",
    "failed": "fill:#fefefe,stroke:#b3261e,color:#b3261e,stroke-dasharray:4 3",
}
_DOT: Mapping[Kind | Literal["failed"], str] = {
    "foundation": 'fillcolor="#eef0f2", color="#5b6672"',
    "greedy": 'fillcolor="#dbeaf6", color="#0069a8"',
    "exploration": 'fillcolor="#fbe6d8", color="#c65102"',
    "grid": 'fillcolor="#dcefe8", color="#00805e"',
    "search": 'fillcolor="#f4e3ef", color="#a9488a"',
    "failed": 'fillcolor="#fefefe", color="#b3261e", fontcolor="#b3261e"',
}


def members_of(state: RunState, model: str | None) -> tuple[str, ...]:
    """A model and its ancestors, or all models, in the order of the run."""
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
    kinds = {_kind(state.models[name]) for name in names}
    lines += [f"  classDef {kind} {style}" for kind, style in _MERMAID.items() if kind in kinds]
    if state.best is not None and state.best.name in ids:
        lines.append(f"  style {ids[state.best.name]} stroke-width:4px")
    return "\n".join(lines) + "\n"


def dot(state: RunState, names: Collection[str]) -> str:
    """A DOT digraph of the models `names`, one rank a generation."""
    ids = {name: f"m{place}" for place, name in enumerate(names)}
    lines = [
        "digraph lineage {",
        f"  label={_dot_text([state.start.name])};",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif"];',
        '  edge [color="#5b6672"];',
    ]
    for name, node in ids.items():
        model = state.models[name]
        best = ", penwidth=3" if model is state.best else ""
        label = _dot_text(_label(model, state))
        lines.append(f"  {node} [label={label}, {_DOT[_kind(model)]}{best}];")
    for number in range(len(state.generations)):
        born = [ids[name] for name in names if state.models[name].generation == number]
        if born:
            lines.append("  { rank=same; " + " ".join(f"{node};" for node in born) + " }")
    for parent, model in _edges(state, ids):
        dashed = " [style=dashed]" if model.kind == "exploration" else ""
        lines.append(f"  {ids[parent]} -> {ids[model.name]}{dashed};")
    return "\n".join([*lines, "}"]) + "\n"


def _edges(state: RunState, names: Collection[str]) -> Iterator[tuple[str, Model]]:
    for name in names:
        model = state.models[name]
        for parent in model.parents:
            if parent in names:
                yield parent, model


def _kind(model: Model) -> Kind | Literal["failed"]:
    return "failed" if model.failure is not None else model.kind


def _label(model: Model, state: RunState) -> list[str]:
    """Name; score; gain and kinship of the parents."""
    lines = [model.name]
    if model.failure is not None:
        return [*lines, f"failed: {model.failure.stage}"]
    lines.append(figures.score(model) if model.scores else "not scored yet")
    if model.parents:
        gain = figures.gain(merge_gain(model, state.models))
        kin = figures.kinship(parents_kinship(model), state.start.metric)
        lines.append(f"gain {gain}, kinship {kin}")
    return lines


def _mermaid_text(text: str) -> str:
    """`text` within quotes: Mermaid reads #code; as a character, and everything else as data."""
    return "".join(
        c if c.isalnum() or c in " .,:±+-–_×()" else f"#{ord(c)};" for c in printable(text)
    )


def _dot_text(lines: list[str]) -> str:
    """A quoted DOT string of several lines."""
    escaped = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
