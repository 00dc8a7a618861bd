"""Per-item results read from the store: what was scored, or a plain reason why not."""

import json

import pytest

from evomerge.domain.errors import DamagedError
from evomerge.domain.scores import TaskScore
from evomerge.store.artefacts import Store
from evomerge.store.samples import NoItemsError, evaluation_name, item_values, samples_file

NAME = evaluation_name("files1-a", "evaluation1-b")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def logged(store, rows, task="t"):
    def build(into):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (into / samples_file(task)).write_text(text)

    store.obtain(NAME, build)


def row(item, value, chosen="none", metric="acc"):
    return {"doc_id": item, "filter": chosen, "metrics": {metric: value}}


def score(value, task="t", metric="acc", samples=2):
    return TaskScore(task=task, metric=metric, value=value, samples=samples)


def test_values_by_item_under_the_filter_that_counts(store):
    rows = [row(i, v, f) for i in (0, 1) for f, v in (("strict", i), ("loose", 1))]
    logged(store, rows)
    assert item_values(store, NAME, score(50.0), "strict") == {0: 0.0, 1: 1.0}
    assert item_values(store, NAME, score(100.0), "loose") == {0: 1.0, 1: 1.0}


def test_line_separators_in_a_text_do_not_end_a_line(store):
    def build(into):
        rows = [{**row(i, i), "target": "one\u2028two\x85three"} for i in (0, 1)]
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
        (into / samples_file("t")).write_text(text, encoding="utf-8")

    store.obtain(NAME, build)
    assert item_values(store, NAME, score(50.0), None) == {0: 0.0, 1: 1.0}


@pytest.mark.parametrize(
    ("rows", "asked", "chosen", "reason"),
    [
        ([row(0, 1), row(0, 0, "loose")], score(100.0), None, "2 filters"),
        ([row(0, 1)], score(100.0), "loose", "no filter 'loose'"),
        ([row(0, [1, 2])], score(100.0), None, "not a number for each item"),
        ([row(0, 1)], score(100.0, metric="f1"), None, "not a number for each item"),
        ([row(0, 1), row(1, 0)], score(40.0), None, "not a mean over items"),
        ([row(0, 1)], score(100.0, task="group"), None, "no sample log of task 'group'"),
        ([], score(0.0), None, "no filter"),
    ],
)
def test_what_cannot_be_paired_is_said(store, rows, asked, chosen, reason):
    logged(store, rows)
    with pytest.raises(NoItemsError, match=reason):
        item_values(store, NAME, asked, chosen)


def test_an_evaluation_that_is_gone_is_said(store):
    with pytest.raises(NoItemsError, match="the store has no per-item results"):
        item_values(store, NAME, score(1.0), None)


def test_a_changed_log_is_damage(store):
    logged(store, [row(0, 1), row(1, 0)])
    path = store.path(NAME) / samples_file("t")
    path.write_text(path.read_text().replace("1}", "0}"))
    with pytest.raises(DamagedError):
        item_values(store, NAME, score(50.0), None)
