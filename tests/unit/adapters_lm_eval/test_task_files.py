from __future__ import annotations

from pathlib import Path

import pytest

from evomerge.adapters.lm_eval.files import read_task_files


def _write(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def test_tasks_groups_and_fragments(tmp_path: Path) -> None:
    _write(
        tmp_path,
        a="task: one\ninclude: part.yaml\n",
        b="group: both\ntask: [one]\n",
        part="dataset_path: json\n",
        unrelated="run: {name: x}\n",
    )
    found = read_task_files([tmp_path])
    assert found.problems == []
    assert set(found.by_name) == {"one", "both"}
    assert found.by_name["one"].includes == {(tmp_path / "part.yaml").resolve()}
    assert not found.by_name["one"].runs_code


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [unclosed\n", "expected ',' or ']'"),
        ("- a list\n", "is not a mapping"),
        ("dataset_path: json\noutput_type: generate_until\n", "neither `task` nor `group`"),
        ("task: one\ninclude: gone.yaml\n", "gone.yaml"),
        ("task: one\ninclude: bad.yaml\n", "includes itself"),
        ("task: one\nx: !other y\n", "!other"),
        ("task: 5\n", "must be a string, not 5"),
    ],
)
def test_files_that_lm_eval_would_leave_out(tmp_path: Path, text: str, message: str) -> None:
    _write(tmp_path, bad=text)
    (problem,) = read_task_files([tmp_path]).problems
    assert problem.startswith(f"evaluation.include[0]: {tmp_path / 'bad.yaml'}: ")
    assert message in problem
    assert "\n" not in problem


def test_a_missing_folder_and_a_name_defined_twice(tmp_path: Path) -> None:
    _write(tmp_path / "a", x="task: one\n")
    _write(tmp_path / "b", y="task: one\n")
    problems = read_task_files([tmp_path / "gone", tmp_path / "a", tmp_path / "b"]).problems
    one, other = tmp_path / "a" / "x.yaml", tmp_path / "b" / "y.yaml"
    assert problems == [
        f"evaluation.include[0]: there is no folder {tmp_path / 'gone'}",
        f"evaluation.include[2]: {other}: 'one' is already defined in {one}",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "task: one\nprocess_docs: !function code.f\n",
        "task: one\nmetric_list: [{metric: !function code.f}]\n",
        "task: one\nclass: !function code.Task\n",
        "task: one\ninclude: inner.yml\n",
    ],
)
def test_code_is_seen_and_not_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "code.py").write_text("raise SystemExit\n", encoding="utf-8")
    (tmp_path / "inner.yml").write_text("process_docs: !function code.f\n", encoding="utf-8")
    _write(tmp_path, x=text)
    assert read_task_files([tmp_path]).by_name["one"].runs_code
