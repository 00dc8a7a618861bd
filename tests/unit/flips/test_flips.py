"""Items won and lost against the parents, against a count by hand over the same logs."""

import json

import pytest
import yaml

from evomerge.cli import cli
from evomerge.domain.model import Model
from evomerge.domain.scores import Scores, TaskScore
from evomerge.domain.state import fold
from evomerge.flips import flips
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import landscape_config, run_landscape

RIGHT = {"child": "11010", "a": "10010", "b": "00011"}
"""Per model, the items that it gets right: the child wins item 1 and loses item 4."""


@pytest.fixture
def store(tmp_path):
    """A store with the logs of a child and its parents on a task of writing and one of choice."""
    store = Store(tmp_path / "store")
    for name, marks in RIGHT.items():
        store.obtain(f"evaluations/{name}/evaluation", lambda into, marks=marks: write(into, marks))
    return store


def write(into, marks):
    written, chosen = [], []
    for item, mark in enumerate(marks):
        right = mark == "1"
        row = {"doc_id": item, "filter": "none", "doc": {}, "metrics": {"acc": float(right)}}
        text = "yes" if right else "no\n\x1b[31m"
        question = [[f"question {item}", {}]]
        written.append({**row, "arguments": question, "filtered": [text], "target": "yes"})
        options = [["which", " left"], ["which", " right"]]
        likely = [[-2.0, False], [-1.0, True]] if right else [[-1.0, True], [-2.0, False]]
        chosen.append({**row, "arguments": options, "filtered": likely, "target": 1})
    for task, rows in (("write", written), ("choose", chosen)):
        (into / f"samples_{task}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def model(name, marks=None):
    marks = marks or RIGHT[name]
    value = 100.0 * marks.count("1") / len(marks)
    tasks = tuple(
        TaskScore(task=task, metric="acc", value=value, samples=5) for task in ("write", "choose")
    )
    scores = Scores(evaluation_id="evaluation", tasks=tasks)
    return Model(name, "greedy", 1, name, scores=scores)


def test_won_and_lost_are_counted_and_told(store):
    write_, choose = flips(store, model("child"), [model("a"), model("b")], {}, 5)
    for task in (write_, choose):
        assert (task.items, task.won, task.lost) == (5, 1, 1)
        assert [(e.change, e.item) for e in task.examples] == [("won", 1), ("lost", 4)]
    won, lost = write_.examples
    assert (won.prompt, won.target) == ("question 1", "yes")
    assert won.given == {"child": "yes", "a": "no\n\x1b[31m", "b": "no\n\x1b[31m"}
    assert lost.given["b"] == "yes"
    assert choose.examples[0].target == "right"
    assert choose.examples[0].given == {"child": "right", "a": "left", "b": "left"}


def test_the_number_of_examples_is_kept(store):
    for count in (0, 1, 2):
        told = flips(store, model("child"), [model("a"), model("b")], {}, count)
        assert [len(task.examples) for task in told] == [count, count]


def test_what_cannot_be_had_is_said(store):
    told = flips(store, model("child"), [model("a"), model("b", "11111")], {}, 1)
    assert "not a mean over items" in told[0].missing
    gone = Model("gone", "greedy", 1, "gone", scores=model("a").scores)
    assert "gone: the store has no per-item results of it" in flips(
        store, model("child"), [gone], {}
    )[0].missing  # fmt: skip
    assert flips(store, model("child"), [], {}) == ()


@pytest.fixture(scope="module")
def landscape(tmp_path_factory):
    root = tmp_path_factory.mktemp("landscape")
    run_landscape(root, landscape_config(stopping=[{"max_generations": 1}]))
    return root / "runs"


def shown(landscape, *words):
    return cli.main(["show", "landscape", *words, "--dir", str(landscape)], standalone_mode=False)


def test_the_command_tells_it_all(landscape, capsys):
    shown(landscape, "model-1-1", "--json", "--samples", "1")
    document = json.loads(capsys.readouterr().out)
    state = fold(RunDirectory(landscape / "landscape").read())
    child = state.models["model-1-1"]
    values = {
        name: {
            row["doc_id"]: row["metrics"]["near"] >= 0.5
            for path in (landscape / "store/evaluations" / state.models[name].content_id).rglob(
                "samples_task-0.jsonl"
            )
            for row in map(json.loads, path.read_text().splitlines())
        }
        for name in (child.name, *child.parents)
    }
    own, parents = values[child.name], [values[name] for name in child.parents]
    told = document["answers"][0]
    assert told["won"] == sum(own[i] and not any(p[i] for p in parents) for i in own)
    assert told["lost"] == sum(not own[i] and any(p[i] for p in parents) for i in own)
    assert document["mergekit"].startswith("merge_method: dare_ties")
    shown(landscape, "model-1-1")
    text = capsys.readouterr().out
    assert "their kinship" in text
    assert "closest kin" not in text, "of a model whose kinship no decision read"
    assert "right, all parents wrong" in text
    assert "merge_method: dare_ties" in text


def test_the_configuration_alone(landscape, capsys):
    shown(landscape, "model-1-1", "--yaml")
    document = yaml.safe_load(capsys.readouterr().out)
    recipe = fold(RunDirectory(landscape / "landscape").read()).models["model-1-1"].candidate.recipe
    assert [each["model"] for each in document["models"]] == [p.model for p in recipe.parents]
    assert document["merge_method"] == recipe.method
