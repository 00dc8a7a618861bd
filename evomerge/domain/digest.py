"""The decision digest: a hash that is equal for two runs with the same decisions.

It covers recipes, parents, seeds, scores, measured kinship and selection, but no times, hosts,
paths, or the order in which parallel work finished.
"""

from __future__ import annotations

from typing import Any

from evomerge.domain.identity import content_id
from evomerge.domain.model import Model
from evomerge.domain.scores import Scores
from evomerge.domain.state import RunState

_NOT_COVERED = {"tasks": {"__all__": {"solved", "filter"}}}
"""`value` is the mean of `solved`; earlier versions did not record `filter`."""


def decisions(state: RunState) -> dict[str, Any]:
    """The data that the digest covers, as JSON data in a fixed order."""
    skipped = [merge.model_dump(mode="json") for merge in state.skipped]
    return {
        "seed": state.start.seed,
        "k": state.k,
        "strategy": state.start.strategy,
        "metric": str(state.start.metric),
        "base": state.start.base.content_id,
        "models": [
            {
                "name": model.name,
                "kind": model.kind,
                "generation": model.generation,
                "content_id": model.content_id,
                "parents": list(model.parents),
                "recipe": model.candidate.recipe.model_dump(mode="json")
                if model.candidate
                else None,
                "scores": _scores(model.scores),
                "failed": model.failure.stage if model.failure else None,
                **({"race": model.race.model_dump(mode="json")} if model.race else {}),
                **({"confirmed": _held_out(model)} if model.held_out else {}),
            }
            for model in state.models.values()
        ],
        "kinship": [
            state.readings[pair].model_dump(mode="json") for pair in sorted(state.readings)
        ],
        "pools": [list(generation.pool or ()) for generation in state.generations],
        "stop": state.stop,
        # Only if not the default, so that runs of earlier versions keep their digests.
        **({} if state.start.objective == "mean" else {"objective": state.start.objective}),
        **({"skipped": skipped} if skipped else {}),
    }


def _scores(scores: Scores | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    covered = scores.model_dump(mode="json", exclude=_NOT_COVERED)
    if scores.perplexity is None:  # runs without a guard keep their digests
        del covered["perplexity"]
    return covered


def _held_out(model: Model) -> dict[str, Any]:
    return {
        split: _scores(outcome) if isinstance(outcome, Scores) else {"failed": outcome.stage}
        for split, outcome in sorted(model.held_out.items())
    }


def decision_digest(state: RunState) -> str:
    """The digest as `decisions1-<32 hex digits>`."""
    return content_id("decisions", 1, decisions(state))
