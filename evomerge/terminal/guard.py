"""The guard of a run as a sentence: perplexities, the bound, how many children are kept out."""

from __future__ import annotations

from evomerge.domain.guard import best_perplexity, shown
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.tables import KEPT_OUT


def guard_sentence(state: RunState) -> str | None:
    """`perplexity 68.20 of model-2-1, 66.00 of math, the lowest of the foundation models; …`.

    None without a guard, and until a model is scored.
    """
    guard, best, lowest = state.start.guard, state.best, best_perplexity(state.at_generation(0))
    if guard is None or best is None or lowest is None:
        return None
    named = "the packaged text" if guard.text == "default" else guard.text
    own = f"{figures.perplexity(best)} of {best.name}, " if best.name != lowest[1] else ""
    text = (
        f"perplexity {own}{shown(lowest[0])} of {lowest[1]}, the lowest of the foundation models; "
        f"per token of {named}"
    )
    if guard.worse_than is None:
        return text
    kept_out = figures.count(state.models.kept_out, "child", "children")
    bound = shown(guard.worse_than * lowest[0])
    return f"{text}; {kept_out} {KEPT_OUT} above {bound}, {guard.worse_than:g} × the lowest"
