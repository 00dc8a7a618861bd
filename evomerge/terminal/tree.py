"""Lineage as a tree: a model on top, its parents below it, down to the foundation models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from rich.tree import Tree

from evomerge.domain.model import Model
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.figures import printable
from evomerge.terminal.tables import (
    FAILURE,
    KEPT_OUT,
    gain_text,
    kinship_text,
    name_text,
    score_text,
)

_INDENT = 4  # columns of one level of a rich tree
_NAME_LIMIT = 40  # longer names are not aligned, to save width


@dataclass(frozen=True)
class _Node:
    model: Model
    depth: int
    repeated: bool


def lineage_tree(state: RunState, model: str) -> Tree:
    """The lineage of `model`: score, perplexity, merge gain, kinship of the parents, kind.

    The lineage of an ancestor that appears several times is drawn only once, so that the tree
    has at most one branch per model of the run.

    Raises:
        KeyError: the run has no such model.
    """
    nodes = list(_walk(state, model))
    name_width = min(
        max(node.depth * _INDENT + cell_len(printable(node.model.name)) for node in nodes),
        _NAME_LIMIT,
    )
    score_width = max(cell_len(score_text(node.model, state).plain) for node in nodes)
    branches: list[Tree] = []
    for node in nodes:
        label = _label(node, state, name_width, score_width)
        if node.depth == 0:
            branch = Tree(label, guide_style="dim")
        else:
            branch = branches[node.depth - 1].add(label, guide_style="dim")
        branches[node.depth :] = [branch]
    return branches[0]


def _walk(state: RunState, root: str) -> Iterator[_Node]:
    """The nodes from the root, depth first; iterative, since lineages may be deep."""
    seen: set[str] = set()
    stack = [(root, 0)]
    while stack:
        name, depth = stack.pop()
        model = state.models[name]
        repeated = name in seen and bool(model.parents)
        seen.add(name)
        yield _Node(model, depth, repeated)
        if not repeated:
            stack.extend((parent, depth + 1) for parent in reversed(model.parents))


def _label(node: _Node, state: RunState, name_width: int, score_width: int) -> Text:
    model = node.model
    label = name_text(model, bold=node.depth == 0)
    label.pad_right(max(0, name_width - node.depth * _INDENT - label.cell_len))
    score = score_text(model, state)
    label.append("  ").append_text(score).append(" " * (score_width - score.cell_len))
    if node.repeated:
        return label.append("  as above", "dim")
    if model.perplexity is not None:
        label.append("  perplexity ", "dim").append(f"{figures.perplexity(model):>5}")
    if not model.parents:
        return label.append("  foundation", "dim")
    gain = gain_text(model, state)
    label.append("  over parents ", "dim").append(" " * (6 - gain.cell_len)).append_text(gain)
    kin = kinship_text(model, state)
    label.append("  kinship ", "dim").append(" " * (5 - kin.cell_len)).append_text(kin)
    label.append(f"  {model.kind}", "dim")
    return label.append(f"  {KEPT_OUT}", FAILURE) if model.kept_out else label
