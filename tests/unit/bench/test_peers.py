"""The peers in the arena: exact budgets, the items they see, the winner at a mark."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from evomerge.adapters.lm_eval.split import held_out_items
from evomerge.domain.scores import Scores, TaskScore, solved_items

ARENA = Path(__file__).parents[3] / "scripts" / "bench" / "arena"


@pytest.fixture(scope="module")
def arena():
    """The modules of the arena and of its peers, which are on no path otherwise."""
    folders, before = [str(ARENA), str(ARENA / "peers")], set(sys.modules)
    sys.path[:0] = folders
    try:
        names = ("judge", "play_peers", "record", "versus")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(ARENA) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


def told(folder):
    document = {
        "base": "b",
        "models": ["m"],
        "tasks_folder": "t",
        "tasks": [{"name": "x", "metric": "acc"}],
        "items": 3,
        "batch_size": 1,
        "evaluations": 3,
        "seed": 0,
        "settings": {},
    }
    path = folder / "search.json"
    path.write_text(json.dumps(document))
    return path


def test_a_search_ends_with_its_last_evaluation_and_keeps_every_best_model(arena, tmp_path):
    search = arena.record.Search.read(told(tmp_path))
    merged = tmp_path / "merged"
    merged.mkdir()
    record = arena.record.Record(search)
    for number, score in enumerate((0.5, 0.25), start=1):
        (merged / "weights").write_text(str(number))
        record.add({"x": score, "y": score}, merged, 1.0)
    (merged / "weights").write_text("3")
    with pytest.raises(arena.record.BudgetSpentError):
        record.add({"x": 0.75, "y": 0.75}, merged, 1.0)
    kept = arena.judge.Search(tmp_path)
    assert [child["dev"] for child in kept.children] == [50.0, 25.0, 75.0]
    best = [kept.winner(mark) for mark in (1, 2, 3)]
    assert [child["number"] for child in best] == [1, 1, 3]
    assert [(kept.model(child) / "weights").read_text() for child in best] == ["1", "1", "3"]


def test_a_child_that_failed_counts_but_never_wins(arena, tmp_path):
    record = arena.record.Record(arena.record.Search.read(told(tmp_path)))
    (tmp_path / "m").mkdir()
    record.add(None, None, 1.0)
    record.add({"x": 0.0}, tmp_path / "m", 1.0)
    kept = arena.judge.Search(tmp_path)
    assert len(kept.children) == 2
    assert kept.winner(2)["number"] == 2
    assert kept.reached((1, 2, 3)) == [2]


def test_peers_see_the_items_of_the_search_and_no_others(arena, tmp_path):
    tasks = tmp_path / "fixture" / "family" / "tasks"
    tasks.mkdir(parents=True)
    answers = {}
    for skill in arena.play_peers.tiny.SKILLS:
        name = arena.play_peers.tiny.task_name(skill)
        rows = [{"prompt": f"{n}=", "answer": f"{n:04}"} for n in range(40)]
        answers[name] = [json.dumps(row["answer"]) for row in rows]
        (tasks / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = {"task": name, "doc_to_target": "answer", "dataset_path": "json"}
        (tasks / f"{name}.yaml").write_text(yaml.safe_dump(task))
    fixture = SimpleNamespace(folder=tmp_path / "fixture", tasks=tasks, items=300)
    made = arena.play_peers.dev_tasks(fixture)
    for name, labels in answers.items():
        hidden = set(held_out_items(labels, 1000 / 1300, 0, name))
        data = yaml.safe_load((made / f"{name}.yaml").read_text())["dataset_kwargs"]["data_files"]
        seen = [json.loads(line)["answer"] for line in Path(data["test"]).read_text().splitlines()]
        assert seen == [f"{n:04}" for n in range(40) if n not in hidden]


def scores(*right):
    task = TaskScore(task="t", metric="acc", value=100 * sum(right) / len(right),
                     samples=len(right), solved=solved_items(right))  # fmt: skip
    return Scores(evaluation_id="e", tasks=(task,))


def test_the_best_peer_is_told_with_the_difference_on_the_same_items(arena):
    good, bad = scores(*[True] * 60, *[False] * 40), scores(*[True] * 30, *[False] * 70)
    peers = [
        arena.judge.Judged(SimpleNamespace(name=name), {40: 0.0}, {40: found})
        for name, found in (("one", bad), ("two", good))
    ]
    ours = {"wudi-coefficient_search": {40: bad}, "seed_grid": {40: good}}
    [row] = arena.versus.against_peers("fixture 0", ours, peers)
    assert row["peer"] == {"name": "two", "score": pytest.approx(60.0)}
    assert row["recommended"]["name"] == "wudi-coefficient_search"
    assert row["recommended"]["difference"]["value"] == pytest.approx(-30.0)
    [row] = arena.versus.against_peers("fixture 0", {"seed_grid": {40: good}}, peers)
    assert "recommended" not in row
    assert row["best"]["name"] == "seed_grid"
    assert row["best"]["difference"]["value"] == pytest.approx(0.0)
