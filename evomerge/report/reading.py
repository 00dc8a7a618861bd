"""Views of runs, read from their folders and the store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from evomerge.adapters.estimates import best_pairs, with_estimates
from evomerge.domain.state import Entry, RunState, fold
from evomerge.report.layers import layer_changes
from evomerge.store.gc_roots import baseline_beside
from evomerge.store.recorded import Recorded, recorded_in
from evomerge.store.run_directory import RunDirectory
from evomerge.views.run import RunView, run_view


def read_view(
    run: RunDirectory, entries: Sequence[Entry] | None = None, running: bool | None = None
) -> RunView:
    """The view of a run that has started; only its journal is required.

    Args:
        entries: of the journal, if they were read already.
        running: whether a driver works on it; default: as its lock says.

    Raises:
        DamagedError: the journal is damaged.
        ValueError: the sequence of its events is invalid, or empty.
    """
    entries = run.read() if entries is None else entries
    state = fold(entries)
    config = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        config = run.config.read_text(encoding="utf-8")
    return run_view(
        run.name,
        entries,
        with_estimates(run, state, best_pairs(state)),
        running=run.holder() is not None if running is None else running,
        settings=config,
        environment=_environment(run),
        changes=layer_changes(state, run.store / "kinship" / state.start.base.content_id),
        baseline=baseline_beside(run, state),
    )


def read_state(run: RunDirectory) -> tuple[RunState, Recorded | None]:
    """A run's state with estimates of the kinship that was not measured, and its provenance.

    Raises:
        DamagedError: the journal is damaged.
    """
    state = fold(run.read())
    return with_estimates(run, state, best_pairs(state)), recorded_in(_environment(run))


def _environment(run: RunDirectory) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(run.environment.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}
