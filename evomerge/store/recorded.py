"""Results that somebody else recorded, kept as a finished run: to be looked at and compared.

Such a run has a journal and checkpoints, but no weights, no logs and no config; `environment.json`
says so under `recorded`, with everything that the source does not tell.
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
    """What to know about results that were recorded elsewhere.

    Attributes:
        source: the name of the landscape.
        note: what its author says of it.
        assumed_parents: models whose parents the source does not name; what depends on them is
            not theirs for certain.
        assumed_kinship: pairs whose kinship is not recorded; the choice of a partner used a filled
            in value, the run holds none.
    """

    source: str
    note: str = ""
    assumed_parents: tuple[str, ...] = ()
    assumed_kinship: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, landscape: Landscape) -> Recorded:
        """What a landscape says of itself."""
        return cls(
            source=landscape.name,
            note=landscape.note,
            assumed_parents=tuple(c.model for c in landscape.children if c.assumed_parents),
            assumed_kinship=tuple(r.models for r in landscape.kinship if r.assumed),
        )


def keep(run: RunDirectory, entries: Sequence[Entry], recorded: Recorded) -> None:
    """Write a finished run.

    Raises:
        UsageError: a run of that name is there already.
    """
    if run.exists or run.has_traces:
        raise UsageError(f"there is a run {run.name} already: {run.path}", "give another name")
    make_folder(run.path)
    about = {"evomerge": __version__, "recorded": recorded.model_dump(mode="json")}
    with run.driven(), run.start(entries[0], _CONFIG, about) as journal:
        for entry in entries[1:]:
            journal.append(entry)
    state = fold(entries)
    for generation in state.generations:
        write_checkpoint(run, state, generation)


def recorded_in(environment: object) -> Recorded | None:
    """What the content of `environment.json` says about its source; None for a run of our own."""
    if not isinstance(environment, dict) or "recorded" not in environment:
        return None
    try:
        return Recorded.model_validate(environment["recorded"])
    except ValidationError:
        return None


def find_own_run(run: str, runs_dir: Path) -> RunDirectory:
    """The run `run`, which has weights and logs of its own.

    Raises:
        UsageError: there is no such run, or it holds results that were recorded elsewhere.
    """
    found = find_run(run, runs_dir)
    try:
        environment = json.loads(found.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return found  # whoever needs it says what is wrong with it
    if recorded_in(environment) is not None:
        raise UsageError(
            f"{found.name} holds recorded results: it has no weights, no config and no logs",
            "report, compare, analyze, tree and status show what it has",
        )
    return found


__all__ = ["Recorded", "find_own_run", "keep", "recorded_in"]
