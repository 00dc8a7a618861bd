"""Known bugs, each planted in a driver process by a function, to show that the sweep sees them."""

import contextlib
import json
import os
import random

from evomerge import evolution
from evomerge.domain.errors import LockedError
from evomerge.domain.events import GenerationProposed, ModelMerged, RunFinished
from evomerge.domain.retention import unneeded
from evomerge.domain.state import Entry, RunState, apply
from evomerge.execution.executor import StoreExecutor
from evomerge.store import artefacts, atomic, journal, run_directory
from evomerge.store.artefacts import WEIGHTS, Made, Store, manifest_of
from evomerge.store.ledger import JournalLedger
from evomerge.strategies import kinship, steps
from evomerge.strategies import random as random_strategy
from evomerge.testing.landscape import LandscapeEvaluator

PLANTS = {}


class Without:
    """The module `os`, one of whose functions does nothing."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        return (lambda *_: None) if name == self._name else getattr(os, name)


def plant(function):
    PLANTS[function.__name__] = function
    return function


@plant
def directory_exists_means_complete():
    """The artefact is built in its place, and its folder is taken for the whole of it."""

    def obtain(self, name, build, cancelled=None):
        path = self.path(name)
        if path.exists():
            return Made(path, reused=True, seconds=0.0)
        path.mkdir(parents=True)
        build(path)
        atomic.write_atomic(path / "manifest.json", json.dumps(manifest_of(path)))
        return Made(path, reused=False, seconds=0.0)

    Store.obtain = obtain


@plant
def event_before_artefact():
    """A merge is recorded first and made when it is needed."""

    def merge(self, model):
        return None if model.merged else ModelMerged(model=model.name, seconds=0.0)

    StoreExecutor._merge = merge


@plant
def torn_tail_is_kept():
    """The journal is appended to as it is."""
    journal.os = Without("ftruncate")


@plant
def unordered_set_in_a_decision():
    """The pairs of the pool are taken in the order of a set of names."""
    ordered = steps.greedy_pairs

    def greedy_pairs(state):
        proposals = {str(each.parents): each for each in ordered(state)}
        return tuple(proposals[name] for name in set(proposals))

    kinship.greedy_pairs = random_strategy.greedy_pairs = greedy_pairs


@plant
def random_state_in_memory():
    """One generator for all generations, seeded when the driver starts."""
    shared = random.Random(7)
    evolution.Random = lambda seed: shared


@plant
def noisy_evaluator():
    """No bug: another score each time, as with a sampling model."""
    quiet = LandscapeEvaluator.score

    def score(self, operation, progress):
        answer = quiet(self, operation, progress)
        noise = int.from_bytes(os.urandom(2), "little") / 2**18
        tasks = [{**task, "value": task["value"] * (1 - noise)} for task in answer["tasks"]]
        return {**answer, "tasks": tasks}

    LandscapeEvaluator.score = score


@plant
def measured_again_on_resume():
    """A resumed run scores the whole open generation again."""
    holds = Store.holds
    once = []

    def unscored(state):
        open_generation = state.open_generation
        if once or open_generation is None:
            return [m for m in state.models.values() if m.scores is None and m.failure is None]
        once.append(True)
        return list(state.at_generation(open_generation.number))

    RunState.unscored = property(unscored)
    Store.holds = lambda self, name: not name.startswith("evaluations") and holds(self, name)


@plant
def pruned_before_the_event():
    """Weights that an event makes unneeded go before it is recorded."""
    record = JournalLedger.record

    def pruning_record(self, event):
        after = apply(self.state, Entry(at=0.0, event=event))
        if isinstance(event, GenerationProposed | RunFinished):
            store = Store(self._run.path.parent / "store")
            for name in unneeded(after):
                store.prune(f"models/{after.models[name].content_id}", *WEIGHTS)
        record(self, event)

    JournalLedger.record = pruning_record


@plant
def lock_is_never_released():
    """The lock is a file that its holder removes."""

    @contextlib.contextmanager
    def exclusive(path, what):
        if path.exists():
            raise LockedError(f"{what} is driven by another process")
        path.touch()
        yield
        path.unlink()

    run_directory.exclusive = exclusive


@plant
def journal_not_synced():
    """An event is recorded when it is written, not when it is synced."""
    journal.os = Without("fsync")


@plant
def names_not_synced():
    """A rename is taken for durable without an fsync of its folder."""
    atomic.sync_folder = artefacts.sync_folder = lambda folder: None


@plant
def folder_of_a_killed_process_not_synced():
    """A folder that is there is taken for durable."""
    atomic._sync_name = lambda folder: None
    artefacts.settle = run_directory.settle = lambda path, above: None


@plant
def content_not_synced():
    """An artefact is renamed before its files are synced."""
    artefacts.sync_tree = lambda folder: None
