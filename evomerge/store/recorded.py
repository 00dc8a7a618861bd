"""Imported results, kept as a finished run, to be displayed and compared.

Such a run has a journal and checkpoints, but no weights, logs or config; `environment.json` marks
it under `recorded` and lists what the source leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from evomerge import __version__
from evomerge.domain.errors import UsageError
from evomerge.domain.kinship import Pair
from evomerge.domain.state import Entry, fold
from evomerge.domain.value import Value
from evomerge.imagined.landscape import Landscape
from evomerge.store.atomic import make_folder
from evomerge.store.checkpoints import write_checkpoint
from evomerge.store.run_directory import RunDirectory, find_run

_CONFIG = "# recorded results: nothing was run here, so there is no config\n"


class Recorded(Value):
    """The provenance of recorded results.

    Attributes:
        source: the name of the landscape.
        note: its author's note.
        assumed_parents: models whose parents the source does not name; what depends on their
            parents is assumed too.
        assumed_kinship: pairs without recorded kinship; the choice of a partner used an imputed
            value, which the run does not contain.
    """

    source: str
    note: str = ""
    assumed_parents: tuple[str, ...] = ()
    assumed_kinship: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, landscape: Landscape) -> Recorded:
        """The provenance that a landscape states."""
        return cls(
            source=landscape.name,
            note=landscape.note,
            assumed_parents=tuple(c.model for c in landscape.children if c.assumed_parents),
            assumed_kinship=tuple(r.models for r in landscape.kinship if r.assumed),
        )


def keep(run: RunDirectory, entries: Sequence[Entry], recorded: Recorded) -> None:
    """Write a finished run.

    Raises:
        UsageError: a run of that name exists.
    """
    if run.exists or run.has_traces:
        raise UsageError(f"there is already a run {run.name}: {run.path}", "give another name")
    make_folder(run.path)
    about = {"evomerge": __version__, "recorded": recorded.model_dump(mode="json")}
    with run.driven(), run.start(entries[0], _CONFIG, about) as journal:
        for entry in entries[1:]:
            journal.append(entry)
    state = fold(entries)
    for generation in state.generations:
        write_checkpoint(run, state, generation)


def recorded_in(environment: object) -> Recorded | None:
    """The `recorded` entry of `environment.json`; None for a run of our own."""
    if not isinstance(environment, dict) or "recorded" not in environment:
        return None
    try:
        return Recorded.model_validate(environment["recorded"])
    except ValidationError:
        return None


def find_own_run(run: str, runs_dir: Path) -> RunDirectory:
    """The run `run`, which must have weights and logs of its own.

    Raises:
        UsageError: there is no such run, or it holds recorded results.
    """
    found = find_run(run, runs_dir)
    try:
        environment = json.loads(found.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return found  # reported by whatever needs the file
    if recorded_in(environment) is not None:
        raise UsageError(
            f"{found.name} holds recorded results: it has no weights, no config and no logs",
            "report, compare, analyze, tree and status show what it has",
        )
    return found


__all__ = ["Recorded", "find_own_run", "keep", "recorded_in"]
