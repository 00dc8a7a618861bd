"""`evomerge task new`: faults of the data in their own lines; lm-eval's part is in integration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from evomerge.adapters.lm_eval import own_task
from evomerge.adapters.lm_eval.plain_words import reason
from evomerge.api.tasks import new_task, task_named
from tests.conftest import command

ROWS = [{"prompt": "1+1=", "answer": "2"}, {"prompt": "1+2=", "answer": "3"}]
CHOICES = [
    {"q": "1+1=", "right": "2", "of": ["2", "3"]},
    {"q": "1+2=", "right": 1, "of": ["2", "3"]},
]


def written(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_generated_answer(here):
    written(here / "sums.jsonl", ROWS)
    task = task_named("sums.jsonl")
    assert (task.name, task.settings, task.count) == ("sums", ("metric: exact_match",), 2)
    content = yaml.safe_load((here / "tasks" / "sums.yaml").read_text())
    assert content["dataset_kwargs"] == {"data_files": {"test": "../sums.jsonl"}}
    assert (content["doc_to_text"], content["doc_to_target"]) == ("prompt", "answer")
    assert content["output_type"] == "generate_until"
    assert "target_delimiter" not in content
    assert task_named("sums.jsonl") == task  # the file that is there


def test_data_in_a_folder_have_their_task_beside_them(here):
    (here / "data").mkdir()
    data = written(here / "data" / "sums.jsonl", ROWS)
    rows = own_task.read_rows(data)
    task = new_task(data, rows, own_task.guessed_columns(data, rows))
    assert task.path == here / "data" / "sums.yaml"
    assert yaml.safe_load(task.text)["dataset_kwargs"] == {"data_files": {"test": "sums.jsonl"}}


def test_choices_and_csv(here):
    data = written(here / "c.jsonl", [CHOICES[0]])
    columns = own_task.Columns("q", "right", "of")
    content = yaml.safe_load(new_task(data, own_task.read_rows(data), columns).text)
    assert (content["output_type"], content["doc_to_choice"]) == ("multiple_choice", "of")
    assert content["metric_list"][0]["metric"] == "acc"
    written(here / "e.jsonl", [{"prompt": "1+1 =\n", "answer": 2}])
    assert "target_delimiter: ''" in Path(*task_named("e.jsonl").folder.parts, "e.yaml").read_text()
    (here / "d.csv").write_text('question,answer\n"1+1=",2\n"1,2",3\n')
    assert own_task.read_rows(here / "d.csv")[3] == {"question": "1,2", "answer": "3"}
    assert task_named("d.csv").count == 2


@pytest.mark.parametrize(
    ("rows", "words", "told"),
    [
        (ROWS, "--prompt q --answer answer", "no column q; it has prompt, answer"),
        ([*ROWS, {"prompt": "x", "answer": " "}], "", "d.jsonl: no 'answer' (line 3)"),
        ([{"prompt": "x", "answer": ""}] * 8, "", "no 'answer' (lines 1, 2, 3, 4, 5 and 3 more)"),
        ([{"prompt": 1, "answer": "2"}], "", "'prompt' is no text (line 1)"),
        ([{"prompt": "x", "answer": "2 "}], "", "'answer' has spaces around it"),
        ([{"prompt": "x", "answer": [2]}], "", "'answer' is neither a text nor a number"),
        ([*ROWS, {"prompt": "x", "answer": 2}], "", "has both texts and numbers"),
        ([{"a": "x", "b": "2"}], "", "which column is the prompt? It has a, b"),
        (CHOICES, "--prompt q --answer right --choices of", "has both texts and numbers"),
        ([{**CHOICES[0], "right": "9"}], "--prompt q --answer right --choices of",
         "'right' is none of its 'of' (line 1)"),
        ([{**CHOICES[0], "right": 2}], "--prompt q --answer right --choices of",
         "'right' is not the place of one of its 'of', from 0 (line 1)"),
        ([{**CHOICES[0], "of": "2"}], "--prompt q --answer right --choices of",
         "'of' is no list of texts"),
        ([], "", "d.jsonl has no rows"),
        ([[1]], "", "d.jsonl:1: expected a JSON object"),
    ],
)  # fmt: skip
def test_faults_of_the_data_are_told_with_their_lines(here, rows, words, told):
    written(here / "d.jsonl", rows)
    done = command("task", "new", "d.jsonl", *words.split())
    assert done.code == 2
    assert told in done.err
    assert not (here / "tasks").exists()


def test_files_that_are_none(here):
    (here / "d.jsonl").write_text('{"prompt": "x", "answer": "y"}\n{"prompt": \n')
    assert "d.jsonl:2: this line is not JSON" in command("task", "new", "d.jsonl").err
    assert "cannot be read" in command("task", "new", "none.jsonl").err
    assert "expected a file that ends in .jsonl or .csv" in command("task", "new", "d.txt").err


@pytest.mark.parametrize(
    ("error", "change", "told"),
    [
        (ValueError("must have valid or test docs!"), {"test_split": None}, "add `test_split:`"),
        (KeyError("dev"), {"test_split": "dev"}, "no split 'dev', which `test_split` names"),
        (TypeError(), {"doc_to_target": None}, "its file has no `doc_to_target`"),
        (TypeError(), {"output_type": "generate"}, "its output_type is 'generate'"),
        (KeyError(None), {}, "lacks a metric or an aggregation of its metric_list (exact_match)"),
        (ValueError("malformed node"), {"doc_to_choice": "x"}, "'x', is no column and no list"),
        (TypeError("f() got an unexpected keyword argument 'x'"), {}, "knows no key `x`"),
        (RuntimeError("else"), {}, "RuntimeError: else"),
    ],
)
def test_what_lm_eval_refuses_is_told_in_plain_words(error, change, told):
    data = {"test_split": "test", "dataset_path": "json", "doc_to_text": "a", "doc_to_target": "b"}
    content = {**data, "metric_list": [{"metric": "exact_match"}], **change}
    assert told in reason(error, {key: value for key, value in content.items() if value})
