"""The prompts and right answers of the items that merge rules see, as lm-eval would send them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from evomerge.adapters.lm_eval.data import description
from evomerge.adapters.lm_eval.form import tokenizer_fingerprint
from evomerge.adapters.lm_eval.metrics import one_line
from evomerge.adapters.lm_eval.suite import Suite
from evomerge.domain.errors import CandidateError
from evomerge.domain.identity import content_id
from evomerge.execution.calibration import ITEMS


def calibration_id(suite: Suite) -> str:
    """The content id of a suite's items as texts, which depend on the base's chat template too."""
    config, found = suite.config, description(suite)
    determined = {
        "tasks": found["tasks"],
        "groups": found["groups"],
        "lm_eval": version("lm_eval"),
        "system_instruction": config.system_instruction,
        "chat_template": config.chat_template,
        "seed": config.seed,
    }
    return content_id("items", 1, determined)


def write_items(suite: Suite, model: Path, trust: bool, into: Path) -> None:
    """Write the items of a suite to `ITEMS`, in the order of the tasks.

    Args:
        model: folder of the model whose chat template is applied, if the config wants one.
        trust: run the code of its tokenizer.

    Raises:
        CandidateError: the texts of a task cannot be built, or none of its items has an answer.
    """
    lines: list[str] = []
    template = _chat_template(model, trust) if suite.config.chat_template else None
    for entry in suite.entries:
        before = len(lines)
        for name, task in entry.leaves.items():
            try:
                texts = ["".join(pair) for pair in _pairs(suite, name, task, model, template)]
            except Exception as error:  # templates and task code can raise anything
                raise CandidateError(
                    f"{entry.key}: the answers of task {name!r} cannot be built: {one_line(error)}"
                ) from None
            item = {"task": entry.config.name}
            lines += [json.dumps({**item, "text": text}, ensure_ascii=False) for text in texts]
        if len(lines) == before:
            name = entry.config.name
            raise CandidateError(f"{entry.key}: no item of task {name!r} has a right answer")
    (into / ITEMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _chat_template(model: Path, trust: bool) -> Callable[..., str]:
    """As lm-eval's models apply it."""
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust)

    def apply(history: Sequence[dict[str, str]], add_generation_prompt: bool = True) -> str:
        text: str = tokenizer.apply_chat_template(
            list(history),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    return apply


def examples(suite: Suite, count: int) -> Iterator[dict[str, str]]:
    """The first items of every task as lm-eval sends them, without a chat template."""
    for name, task in suite.tasks.items():
        for prompt, answer in islice(_pairs(suite, name, task), count):
            yield {"task": name, "prompt": prompt, "target": answer}


def _pairs(
    suite: Suite,
    name: str,
    task: Any,
    model: Path | None = None,
    template: Callable[..., str] | None = None,
) -> Iterator[tuple[str, str]]:
    """Prompt and right answer of each item of a task; items without one are left out."""
    requests, config = suite.requests[name], suite.config
    requests.template = tokenizer_fingerprint(model) if template and model else None
    requests(
        samples=suite.samples.get(name),
        system_instruction=config.system_instruction,
        apply_chat_template=template is not None,
        fewshot_as_multiturn=template is not None,
        chat_template=template,
    )
    delimiter = "" if template else str(task.config.target_delimiter)
    for request in task.instances:
        if task.OUTPUT_TYPE == "generate_until":
            yield request.args[0], f"{delimiter}{_answer(task, request.doc)}"
        elif task.OUTPUT_TYPE != "multiple_choice" or request.idx == _right(task, request.doc):
            prompt, *answer = (part for part in request.args if isinstance(part, str))
            yield prompt, "".join(answer)


def _answer(task: Any, document: Any) -> str:
    """The answer that is to be generated, the first if there are several."""
    target = task.doc_to_target(document)
    if isinstance(target, list):
        target = target[0]
    if isinstance(target, int) and task.config.doc_to_choice is not None:
        target = task.doc_to_choice(document)[target]
    return str(target)


def _right(task: Any, document: Any) -> int | None:
    """The number of the right choice, the first if there are several; None without one."""
    choices = task.doc_to_choice(document)
    target = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    for each in target if isinstance(target, list) else [target]:
        if isinstance(each, str) and each in choices:
            return int(choices.index(each))
        if isinstance(each, int) and 0 <= each < len(choices):
            return each
    return None
