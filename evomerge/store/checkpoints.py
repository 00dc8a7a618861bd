"""Generation checkpoints: one readable file per generation with what happened and why.

They are derived from the journal and can be rewritten at any time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from evomerge.domain.lineage import lineage, merge_gain
from evomerge.domain.model import Model
from evomerge.domain.state import Generation, RunState
from evomerge.store.atomic import write_atomic
from evomerge.store.faults import reached
from evomerge.store.run_directory import RunDirectory

_LEAVES = 8
"""Names in a written lineage at most: lineages can double with every generation."""

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's dumper if PyYAML has it: several times as fast."""


def checkpoint(state: RunState, generation: Generation) -> dict[str, Any]:
    """The content of the checkpoint of a finished generation; linear in its number of children."""
    skipped = [
        {"parents": list(merge.parents), "kinship": _kinship(merge.kinship), "why": merge.reason}
        for merge in state.skipped_for(generation.number)
    ]
    return {
        "generation": generation.number,
        "strategy": state.start.strategy,
        "models": [_model(state, model) for model in state.at_generation(generation.number)],
        **({"skipped": skipped} if skipped else {}),
        "pool": [
            {"model": name, "score": _points(state.models[name].score)}
            for name in generation.pool or ()
        ],
        "stop": generation.stop,
    }


def write_checkpoint(run: RunDirectory, state: RunState, generation: Generation) -> None:
    """Write the checkpoint of a finished generation unless it exists with the same content."""
    path = run.generations / f"{generation.number:02}.yaml"
    content = checkpoint(state, generation)
    text = yaml.dump(content, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=100)
    if _content(path) != text.encode():
        write_atomic(path, text)
        reached("checkpoint.written")


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _model(state: RunState, model: Model) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": model.name, "kind": model.kind, "id": model.content_id}
    if model.candidate is not None:
        proposal = model.candidate.proposal
        entry |= {
            "parents": list(model.parents),
            "why": proposal.reason,
            "mean_score_of_parents": _points(proposal.mean_score),
            "kinship_of_parents": _kinship(proposal.kinship),
            "method": model.candidate.recipe.method,
            "lineage": lineage(model.name, state.models, _LEAVES),
        }
    if model.failure is not None:
        return entry | {"failed": model.failure.model_dump()}
    entry |= {"score": _points(model.score), "gain": _points(merge_gain(model, state.models))}
    entry |= {"perplexity": _points(model.perplexity), "kept_out": model.kept_out}
    if model.scores is not None:
        entry["stderr"] = _points(model.stderr)
        entry["tasks"] = {
            f"{task.task} {task.metric}": {
                "score": _points(task.value),
                "stderr": _points(task.stderr),
                "samples": task.samples,
            }
            for task in model.scores.tasks
        }
    return {key: value for key, value in entry.items() if value is not None}


def _points(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _kinship(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
