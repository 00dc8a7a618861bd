"""The ledger of a run on disk: writes the journal, then what is derived from it, then observers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from evomerge.domain.events import Event, GenerationFinished, ModelMerged
from evomerge.domain.state import Entry, RunState, apply
from evomerge.ports import Observer
from evomerge.store.atomic import make_folder, sweep_temporary
from evomerge.store.checkpoints import write_checkpoint
from evomerge.store.faults import reached
from evomerge.store.journal import Journal
from evomerge.store.run_directory import RunDirectory


class JournalLedger:
    """Records events; the caller holds the run's lock."""

    def __init__(
        self,
        run: RunDirectory,
        journal: Journal,
        state: RunState,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Continue a journal, whose fold is `state`.

        Checkpoints and links that a killed driver did not write are written now.
        """
        self._run = run
        self._journal = journal
        self._observers = observers
        self._state = state
        self._tidy()
        derive(run, self._state)

    @property
    def state(self) -> RunState:
        """The fold of all recorded events."""
        return self._state

    def record(self, event: Event) -> None:
        """Record an event durably, then notify the observers.

        Raises:
            StoppedError: the disk is full or failing.
        """
        entry = Entry(at=time.time(), event=event)
        state = apply(self._state, entry)
        self._journal.append(entry)
        self._state = state
        reached("ledger.recorded")
        if isinstance(event, ModelMerged):
            self._run.link(event.model, state.models[event.model].content_id)
        elif isinstance(event, GenerationFinished):
            write_checkpoint(self._run, state, state.generations[event.generation])
        reached("ledger.derived")
        for observer in self._observers:
            observer.on_event(event, state)

    def _tidy(self) -> None:
        """Delete temporary files of a killed driver."""
        for path in (self._run.config, self._run.environment, self._run.journal):
            sweep_temporary(path.parent, path.name)
        sweep_temporary(self._run.generations)


def derive(run: RunDirectory, state: RunState) -> None:
    """Write every checkpoint and link that is missing or damaged; all follow from the state."""
    make_folder(run.generations)
    make_folder(run.models)
    for model in state.models.values():
        if model.merged:
            run.link(model.name, model.content_id)
    for generation in state.generations:
        if generation.pool is not None:
            write_checkpoint(run, state, generation)
