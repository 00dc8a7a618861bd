"""Disentangled task vectors in the store: made once, kept while they are needed, made again."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import pytest

from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import StoppedError
from evomerge.domain.retention import needed, needed_task_vectors, task_vectors
from evomerge.domain.state import fold
from evomerge.driver import rebuild
from evomerge.store.artefacts import Store
from evomerge.store.gc_roots import NeededElsewhere, needed_weights, states_of, unreferenced
from evomerge.store.run_directory import RunDirectory
from evomerge.store.verification import verify
from evomerge.testing.landscape import VECTOR, LandscapeMerger
from evomerge.testing.landscape_run import (
    LandscapeWorkplace,
    SilentObserver,
    landscape_config,
    run_landscape,
)


class Counting(LandscapeMerger):
    """Counts sets and merges; from the `fails_at`th merge on the driver is stopped."""

    def __init__(self, fails_at=0):
        self.sets, self.merges, self.fails_at = 0, 0, fails_at

    def disentangle(self, operation, progress):
        self.sets += 1
        return super().disentangle(operation, progress)

    def merge(self, operation, progress):
        self.merges += 1
        if 0 < self.fails_at <= self.merges:
            raise StoppedError("no power")
        return super().merge(operation, progress)


def weighing(retention="best", name="landscape", strategy="seed_grid", **changes):
    return landscape_config(
        run={"name": name, "seed": 1},
        strategy={"name": strategy, "k": 3, **changes},
        merge={"method": "wudi"},
        retention=retention,
    )


def run(root, config=None, **workers):
    config = config or weighing()
    return run_landscape(root, config, LandscapeWorkplace(root, config, **workers))


def store_of(root):
    return Store(root / "runs/store")


def set_of(root, state):
    (content_id,) = task_vectors(state)
    return store_of(root).path(f"task_vectors/{content_id}")


def vectors_in(folder):
    return sorted(path for path in folder.rglob(VECTOR))


@pytest.mark.parametrize("merge_workers", [1, 3])
def test_all_weightings_of_the_same_parents_share_one_set(tmp_path, merge_workers):
    """Workers that want it at the same time wait for the one that makes it."""
    merger = Counting()
    together = threading.Semaphore(1)

    class Slow(Counting):
        def disentangle(self, operation, progress):
            assert together.acquire(blocking=False), "two make the same set"
            answer = merger.disentangle(operation, progress)
            together.release()
            return answer

        def merge(self, operation, progress):
            return merger.merge(operation, progress)

    state = run(tmp_path, merger=Slow(), merge_workers=merge_workers)
    assert (merger.sets, merger.merges) == (1, 3)
    assert len(task_vectors(state)) == 1
    assert all(model.score is not None for model in state.models.values())


def test_pairs_are_solved_within_their_merge(tmp_path):
    """As with every recipe of an earlier version: a pair is merged once, nothing of it is kept."""
    merger = Counting()
    state = run(tmp_path, weighing(strategy="greedy"), merger=merger)
    assert (merger.sets, merger.merges) == (0, len([m for m in state.models.values() if m.merged]))
    assert not task_vectors(state)


def test_stopped_between_the_set_and_a_merge_it_is_not_made_again(tmp_path):
    whole = run(tmp_path / "whole")
    stopped, resumed = Counting(fails_at=1), Counting()
    with pytest.raises(StoppedError, match="no power"):
        run(tmp_path / "cut", merger=stopped)
    state = run(tmp_path / "cut", merger=resumed)
    assert (stopped.sets, resumed.sets) == (1, 0)
    assert decision_digest(state) == decision_digest(whole)


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_damaged_set_is_made_again(tmp_path, damage):
    whole = run(tmp_path / "whole")
    with pytest.raises(StoppedError, match="no power"):
        run(tmp_path / "cut", merger=Counting(fails_at=2))
    state = fold(RunDirectory(tmp_path / "cut/runs/landscape").read())
    victim = vectors_in(set_of(tmp_path / "cut", state))[0]
    match damage:
        case "gone":
            victim.unlink()
        case "cut":
            victim.write_text(victim.read_text()[:-9])
        case "changed":
            victim.write_text(victim.read_text().replace("1", "2", 1))
    resumed = Counting()
    state = run(tmp_path / "cut", merger=resumed)
    assert (resumed.sets, resumed.merges) == (1, 2)
    assert decision_digest(state) == decision_digest(whole)


@pytest.mark.parametrize("retention", ["all", "pool", "best"])
def test_a_finished_run_keeps_them_with_all_only(tmp_path, retention):
    state = run(tmp_path, weighing(retention))
    assert bool(vectors_in(set_of(tmp_path, state))) == (retention == "all")
    assert not [each for each in verify(state, store_of(tmp_path)) if each.problems]
    assert unreferenced(states_of(tmp_path / "runs"), store_of(tmp_path)) == []


def test_they_are_kept_while_the_search_weighs_them(tmp_path):
    """Over several generations the set is made once, whatever the retention."""
    merger = Counting()
    config = weighing(strategy="coefficient_search", search={"algorithm": "random"})
    state = run(tmp_path, config, merger=merger)
    assert merger.merges == len([model for model in state.models.values() if model.merged]) > 3
    assert merger.sets == 1


def test_a_pruned_child_is_made_again_from_its_set(tmp_path):
    """And gc then sees the set, which the finished run does not need."""
    state = run(tmp_path)
    store = store_of(tmp_path)
    pruned = next(m for m in state.models.values() if m.merged and m.name not in needed(state))
    config, merger = weighing(), Counting()
    rebuild(LandscapeWorkplace(tmp_path, config, merger=merger), state, pruned, SilentObserver())
    assert (merger.sets, merger.merges) == (1, 1)
    names = {each.name for each in unreferenced(states_of(tmp_path / "runs"), store)}
    (content_id,) = task_vectors(state)
    assert names == {f"models/{pruned.content_id}", f"task_vectors/{content_id}"}
    for each in unreferenced(states_of(tmp_path / "runs"), store):
        assert each.weights_only
        each.free(store)
    assert not vectors_in(set_of(tmp_path, state))
    assert unreferenced(states_of(tmp_path / "runs"), store) == []


def test_gc_finds_sets_of_runs_that_are_gone(tmp_path):
    state = run(tmp_path, weighing("all"))
    shutil.rmtree(tmp_path / "runs/landscape")
    run(tmp_path, landscape_config(run={"name": "other", "seed": 1}))
    store = store_of(tmp_path)
    found = {each.name: each for each in unreferenced(states_of(tmp_path / "runs"), store)}
    assert not found[f"task_vectors/{next(iter(task_vectors(state)))}"].weights_only
    for each in found.values():
        each.free(store)
    assert not set_of(tmp_path, state).exists()


def test_a_set_that_another_run_still_weighs_is_kept(tmp_path):
    """And the other run does not make it again."""
    with pytest.raises(StoppedError, match="no power"):
        run(tmp_path, weighing(name="slow"), merger=Counting(fails_at=3))
    first = Counting()
    state = run(tmp_path, weighing(name="quick"), merger=first)
    assert (first.sets, first.merges) == (0, 1), "it found the set and two children"
    assert vectors_in(set_of(tmp_path, state))
    quick = RunDirectory(tmp_path / "runs/quick")
    assert NeededElsewhere(quick)() >= task_vectors(state).keys()
    second = Counting()
    state = run(tmp_path, weighing(name="slow"), merger=second)
    assert state.finished
    assert second.sets == 0
    assert not vectors_in(set_of(tmp_path, state))


def test_what_is_needed_follows_the_state(tmp_path):
    state = run(tmp_path, weighing("pool"))
    wanted = set(task_vectors(state))
    assert needed_task_vectors(state) == set()
    assert needed_task_vectors(replace(state, retention="all")) == wanted
    assert needed_task_vectors(replace(state, finished=False)) == wanted
    assert wanted <= needed_weights([state, replace(state, finished=False)])


def test_the_disk_must_hold_the_set_and_the_children(tmp_path):
    config = weighing()
    workplace = LandscapeWorkplace(tmp_path, config, model_size=10**15)
    with pytest.raises(StoppedError, match=r"7000000.0 GB are needed"):  # 3 children, 4 parents
        run_landscape(tmp_path, config, workplace)
