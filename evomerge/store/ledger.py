"""The ledger of a run on disk: journal first, then what is derived from it, then the observers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from evomerge.domain.events import Event
from evomerge.domain.state import Entry, RunState, apply, fold
from evomerge.ports import Observer
from evomerge.store.atomic import make_folder, sweep_aside
from evomerge.store.checkpoints import write_checkpoints
from evomerge.store.faults import reached
from evomerge.store.journal import Journal
from evomerge.store.run_directory import RunDirectory


class JournalLedger:
    """Records events; the caller holds the run's lock."""

    def __init__(
        self, run: RunDirectory, journal: Journal, observers: Sequence[Observer] = ()
    ) -> None:
        """Take up a journal; what a killed driver did not derive from it is derived now."""
        self._run = run
        self._journal = journal
        self._observers = observers
        self._state = fold(journal.entries)
        self._tidy()
        self._derive()

    @property
    def state(self) -> RunState:
        """The fold of everything recorded."""
        return self._state

    def record(self, event: Event) -> None:
        """Record an event durably, then let the observers know.

        Raises:
            StoppedError: the disk is full or failing.
        """
        entry = Entry(at=time.time(), event=event)
        state = apply(self._state, entry)
        self._journal.append(entry)
        self._state = state
        reached("ledger.recorded")
        if event.type in ("model_merged", "generation_finished"):
            self._derive()
            reached("ledger.derived")
        for observer in self._observers:
            observer.happened(event, state)

    def _tidy(self) -> None:
        """Make the folders of what is derived; drop the half-written files of a killed driver."""
        make_folder(self._run.generations)
        make_folder(self._run.models)
        for path in (self._run.config, self._run.environment, self._run.journal):
            sweep_aside(path.parent, path.name)
        sweep_aside(self._run.generations)

    def _derive(self) -> None:
        """Checkpoints and links follow from the state and can be made again at any time."""
        for model in self._state.models.values():
            if model.merged:
                self._run.link(model.name, model.content_id)
        write_checkpoints(self._run, self._state)
