"""A task file of lm-eval's for one's own data: rows with a prompt, an answer, perhaps choices.

The rows are checked here, in the words of the data; lm-eval checks the file that is written.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evomerge.config.texts import TASK_PATTERN
from evomerge.domain.errors import UsageError

FORMATS = {".jsonl": "json", ".csv": "csv"}
"""Endings of data files, with the loader of `datasets` that reads them."""
OF_CHOICES = ("acc", "acc_norm", "acc_mutual_info")
"""lm-eval's metrics of a choice that are shares of the items."""
_GUESSES = {
    "prompt": ("prompt", "question", "input", "instruction", "text"),
    "answer": ("answer", "target", "output", "response", "label"),
    "choices": ("choices", "options"),
}
_SHOWN = 5  # lines of a fault

Rows = Mapping[int, Mapping[str, Any]]
"""The rows of a data file by their lines, counted from 1."""


@dataclass(frozen=True)
class Columns:
    """What the columns of the data are.

    Attributes:
        choices: a list of texts in every row; None where the answer is generated.
    """

    prompt: str
    answer: str
    choices: str | None = None


def read_rows(data: Path) -> Rows:
    """The rows of a JSON Lines or CSV file.

    Raises:
        UsageError: it cannot be read; names the lines.
    """
    if data.suffix not in FORMATS:
        raise UsageError(
            f"{data}: expected a file that ends in {' or '.join(FORMATS)}",
            'write one JSON object a line: {"prompt": …, "answer": …}',
        )
    try:
        with data.open(encoding="utf-8-sig", newline="") as file:
            rows = dict(_csv(file) if data.suffix == ".csv" else _json(data, file))
    except OSError as error:
        raise UsageError(f"{data} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{data} cannot be read: {error}", "save it as UTF-8") from None
    if not rows:
        raise UsageError(f"{data} has no rows")
    return rows


def _csv(file: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(file)
    for row in reader:
        yield reader.line_num, row


def _json(data: Path, file: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            what = getattr(error, "msg", str(error))
            raise UsageError(f"{data}:{number}: this line is not JSON: {what}") from None
        if not isinstance(row, dict):
            raise UsageError(f"{data}:{number}: expected a JSON object, {{…}}")
        yield number, row


def guessed_columns(
    data: Path, rows: Rows, prompt: str | None = None, answer: str | None = None
) -> Columns:
    """The columns by their usual names, where they are not given.

    Raises:
        UsageError: none is called so; the remedy is the command that names them.
    """
    there = next(iter(rows.values()))
    found = {
        part: next((name for name in names if name in there), None)
        for part, names in _GUESSES.items()
    }
    prompt, answer = prompt or found["prompt"], answer or found["answer"]
    if prompt is None or answer is None:
        missing = "prompt" if prompt is None else "answer"
        raise UsageError(
            f"{data}: which column is the {missing}? It has {', '.join(there)}",
            f"evomerge task new {data} --prompt COLUMN --answer COLUMN",
        )
    return Columns(prompt, answer, found["choices"])


def check_rows(data: Path, rows: Rows, columns: Columns) -> None:
    """Check that every row has what a task needs.

    Raises:
        UsageError: with the faults, a line each, and the lines of the data that have them.
    """
    used = [each for each in (columns.prompt, columns.answer, columns.choices) if each is not None]
    there = list(next(iter(rows.values())))
    unknown = [name for name in used if all(name not in row for row in rows.values())]
    if unknown:
        columns_there = ", ".join(map(str, there))
        raise UsageError(f"{data}: no column {', '.join(unknown)}; it has {columns_there}")
    faults: dict[str, list[int]] = {}
    for line, row in rows.items():
        for fault in _faults(row, columns, used):
            faults.setdefault(fault, []).append(line)
    if not faults and len({isinstance(row[columns.answer], str) for row in rows.values()}) > 1:
        faults[f"the column {columns.answer!r} has both texts and numbers"] = []
    if faults:
        told = [f"{data}: {fault}{_lines(lines)}" for fault, lines in faults.items()]
        raise UsageError("\n".join(told))


def _faults(row: Mapping[str, Any], columns: Columns, used: Sequence[str]) -> Iterator[str]:
    empty = [name for name in used if row.get(name) in (None, "", []) or _is_blank(row[name])]
    for name in empty:
        yield f"no {name!r}"
    if empty:
        return
    prompt, answer = row[columns.prompt], row[columns.answer]
    if not isinstance(prompt, str):
        yield f"{columns.prompt!r} is no text"
    if isinstance(answer, dict | list | bool):
        yield f"{columns.answer!r} is neither a text nor a number"
    elif columns.choices is None and isinstance(answer, str) and answer != answer.strip():
        yield f"{columns.answer!r} has spaces around it, which no scored answer has"
    elif columns.choices is not None:
        choices = row[columns.choices]
        if not isinstance(choices, list) or not all(isinstance(each, str) for each in choices):
            yield f"{columns.choices!r} is no list of texts"
        elif isinstance(answer, str) and answer not in choices:
            yield f"{columns.answer!r} is none of its {columns.choices!r}"
        elif not isinstance(answer, str) and answer not in range(len(choices)):
            yield f"{columns.answer!r} is not the place of one of its {columns.choices!r}, from 0"


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _lines(lines: Sequence[int]) -> str:
    if not lines:
        return ""
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    word = "line" if len(lines) == 1 else "lines"
    return f" ({word} {', '.join(map(str, lines[:_SHOWN]))}{more})"


def task_path(data: Path) -> Path:
    """Where the file of a task over `data` is written: beside it.

    Every task file below an included folder is read, so that for data in the current folder, or
    above it, it is a folder `tasks` of its own.
    """
    folder = data.parent
    own = folder / "tasks" if Path.cwd().is_relative_to(folder.resolve()) else folder
    return own / f"{data.stem}.yaml"


def task_name(data: Path) -> str:
    """The name of a task over `data`: that of the file."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", data.stem).lstrip(".-")
    return name if re.fullmatch(TASK_PATTERN, name) else "my_task"


def task_text(name: str, data: str, rows: Rows, columns: Columns, metric: str) -> str:
    """The text of a task file.

    Args:
        data: the path of the data file, whole or from the folder of the task file.
    """
    content: dict[str, Any] = {
        "task": name,
        "dataset_path": FORMATS[Path(data).suffix],
        "dataset_kwargs": {"data_files": {"test": data}},
        "test_split": "test",
        "doc_to_text": columns.prompt,
        "doc_to_target": columns.answer,
    }
    if columns.choices is not None:
        content |= {"output_type": "multiple_choice", "doc_to_choice": columns.choices}
    else:
        answers = [str(row[columns.answer]) for row in rows.values()]
        content |= {
            "output_type": "generate_until",
            "generation_kwargs": {
                "until": ["\n\n" if any("\n" in each for each in answers) else "\n"],
                "do_sample": False,
                # a token has one character at least
                "max_gen_toks": min(2048, max(16, *map(len, answers))),
            },
            "filter_list": [
                {
                    "name": "stripped",
                    "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}],
                }
            ],
        }
    if any(row[columns.prompt][-1:].isspace() for row in rows.values()):
        content["target_delimiter"] = ""  # the prompt has it already
    content["metric_list"] = [{"metric": metric, "aggregation": "mean", "higher_is_better": True}]
    content["metadata"] = {"version": 1.0}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def path_from(folder: Path, data: Path) -> str:
    """The path of the data from a folder; whole if it would lead up more than one."""
    data, folder = data.resolve(), folder.resolve()
    if data.is_relative_to(folder):
        return str(data.relative_to(folder))
    if data.is_relative_to(folder.parent):
        return str(Path("..") / data.relative_to(folder.parent))
    return str(data)
