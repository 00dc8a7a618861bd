"""What a remembered description of tasks rests on: any change of it asks the child again."""

import json

import pytest

from evomerge.adapters.cached import CachedWorker
from evomerge.adapters.lm_eval.basis import basis
from evomerge.config import EvaluationConfig, MergeOptions
from evomerge.execution.operations import describe
from evomerge.execution.pool import no_progress
from evomerge.ports import Operation
from evomerge.store.cache import Cache

TASK = """\
task: one
dataset_path: json
dataset_kwargs: {data_files: {test: one.jsonl}}
test_split: test
doc_to_text: q
doc_to_target: a
"""


class FakeChild:
    """Stands in for the child process."""

    name, kinds, device, host = "scoring on cpu", frozenset({"describe", "score"}), "cpu", ""

    def __init__(self):
        self.asked = []
        self.evaluation_id = "described"

    def run(self, operation, progress):
        self.asked.append(operation.kind)
        if operation.kind == "describe":
            return {"ids": {"selection": "described"}, "counted": {"selection": []}}
        return {"evaluation_id": self.evaluation_id, "tasks": []}

    def start(self):
        raise AssertionError("nothing is to be started")

    close = start


@pytest.fixture
def tasks(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "one.yaml").write_text(TASK)
    (folder / "one.jsonl").write_text('{"q": "1", "a": "2"}\n')
    return folder


def asked(tmp_path, folder, **settings):
    """Whether a new worker asked its child for the tasks."""
    child = FakeChild()
    worker = cached(tmp_path, child)
    assert worker.run(description(folder, **settings), no_progress)["ids"] == {
        "selection": "described"
    }
    return child.asked == ["describe"]


def cached(tmp_path, child):
    return CachedWorker(child, child.device, {"describe": basis}, Cache(tmp_path / "cache"))


def description(folder, **settings):
    config = EvaluationConfig.model_validate({"tasks": ["one"], "include": [folder], **settings})
    return describe(config, MergeOptions())


def test_the_child_is_asked_once(tmp_path, tasks):
    assert [asked(tmp_path, tasks) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    "change",
    [
        lambda tasks: (tasks / "one.jsonl").write_text('{"q": "1", "a": "3"}\n'),
        lambda tasks: (tasks / "one.yaml").write_text(TASK + "num_fewshot: 1\n"),
        lambda tasks: (tasks / "two.yaml").write_text(TASK.replace("one", "two")),
    ],
)
def test_it_is_asked_again_when_a_file_changed(tmp_path, tasks, change):
    assert asked(tmp_path, tasks)
    change(tasks)
    assert asked(tmp_path, tasks)
    assert not asked(tmp_path, tasks)


def test_it_is_asked_again_for_other_settings(tmp_path, tasks):
    assert asked(tmp_path, tasks)
    assert asked(tmp_path, tasks, seed=5)
    assert asked(tmp_path, tasks, tasks=[{"name": "one", "limit": 1}])


def test_it_is_asked_again_when_the_text_of_the_guard_changed(tmp_path, tasks):
    text = tmp_path / "text.txt"
    text.write_text("Some text.")
    assert asked(tmp_path, tasks, guard=str(text))
    assert not asked(tmp_path, tasks, guard=str(text))
    text.write_text("Another text.")
    assert asked(tmp_path, tasks, guard=str(text))
    assert asked(tmp_path, tasks, guard="some_task_of_lm_eval")
    assert asked(tmp_path, tasks, guard="some_task_of_lm_eval"), "its texts are elsewhere"


def test_data_in_the_working_folder_count_as_they_do_for_lm_eval(tmp_path, tasks, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert asked(tmp_path, tasks)
    (tmp_path / "one.jsonl").write_text('{"q": "9", "a": "9"}\n')
    assert asked(tmp_path, tasks)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("doc_to_text: q", "doc_to_text: !function code.text"),
        ("dataset_path: json", "dataset_path: some/dataset"),
        ("one.jsonl", "https://data.example/one.jsonl"),
        ("one.jsonl", "missing.jsonl"),
        ("{data_files: {test: one.jsonl}}", "{data_dir: here}"),
        ("test_split: test", "dataset_name: part"),
        ("task: one", "group: one"),
        ("task: one", "tag: other\ntask: one"),
        ("task: one", "task: another"),
    ],
)
def test_what_cannot_be_watched_is_never_remembered(tmp_path, tasks, old, new):
    (tasks / "one.yaml").write_text(TASK.replace(old, new))
    assert [asked(tmp_path, tasks) for _ in range(2)] == [True, True]


def test_a_file_that_changes_while_the_child_reads_is_not_remembered(tmp_path, tasks):
    class Slow(FakeChild):
        def run(self, operation, progress):
            (tasks / "one.jsonl").write_text('{"q": "1", "a": "4"}\n')
            return super().run(operation, progress)

    assert cached(tmp_path, Slow()).run(description(tasks), no_progress)
    assert asked(tmp_path, tasks)


def test_a_description_that_a_score_contradicts_is_forgotten(tmp_path, tasks):
    assert asked(tmp_path, tasks)
    for told, forgotten in (("described", False), ("another", True)):
        child = FakeChild()
        child.evaluation_id = told
        worker = cached(tmp_path, child)
        worker.run(description(tasks), no_progress)
        worker.run(Operation(kind="score"), no_progress)
        assert child.asked == ["score"], "the description was remembered"
        assert asked(tmp_path, tasks) == forgotten


def test_each_device_is_asked_for_itself(tmp_path, tasks):
    assert asked(tmp_path, tasks)
    other = FakeChild()
    other.device = "cuda:0"
    cached(tmp_path, other).run(description(tasks), no_progress)
    assert other.asked == ["describe"]


def test_no_basis_without_the_task_files():
    config = EvaluationConfig.model_validate({"tasks": ["hellaswag"]})
    assert basis(describe(config, MergeOptions()), "cpu") is None


@pytest.mark.parametrize("damage", ["{}", "", "[]", '{"format": 1, "sum": "0", "answer": {}}'])
def test_a_damaged_answer_is_no_answer(tmp_path, tasks, damage):
    assert asked(tmp_path, tasks)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text(damage)
    assert asked(tmp_path, tasks)


def test_an_answer_is_believed_under_its_own_key_only(tmp_path):
    cache = Cache(tmp_path)
    cache.put({"a": 1}, {"b": [1.5, None, "x"]})
    assert cache.get({"a": 1}) == {"b": [1.5, None, "x"]}
    assert cache.get({"a": 2}) is None
    (kept,) = tmp_path.iterdir()
    changed = json.loads(kept.read_text())
    changed["answer"]["b"][0] = 2.5
    kept.write_text(json.dumps(changed))
    assert cache.get({"a": 1}) is None
    cache.put({"a": 1}, {"b": []})
    cache.drop({"a": 1})
    assert cache.get({"a": 1}) is None


def test_code_of_another_model_type_is_never_remembered(tmp_path, tasks):
    assert [asked(tmp_path, tasks, backend="own:Type") for _ in range(2)] == [True, True]
