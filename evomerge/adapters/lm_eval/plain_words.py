"""What is wrong with a task file that lm-eval refuses, or takes without a word, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from evomerge.adapters.lm_eval.metrics import one_line

_OUTPUT_TYPES = ("generate_until", "multiple_choice", "loglikelihood", "loglikelihood_rolling")
_SPLITS = ("test_split", "validation_split", "training_split", "fewshot_split")
_FIELDS = ("doc_to_text", "doc_to_target", "doc_to_choice")


def reason(error: Exception, config: Mapping[str, Any]) -> str:
    """Why a task cannot be loaded: what its file lacks, if that is it, else lm-eval's own text.

    Args:
        config: of the task's file; empty if it is not known.
    """
    name, text = type(error).__name__, str(error)
    if name == "UndefinedError":
        return f"a template of its file names a column that its data lack: {text}"
    if name == "TemplateSyntaxError":
        return f"a template of its file is not valid Jinja: {text}"
    if unknown := re.search(r"unexpected keyword argument '(\w+)'", text):
        return f"lm-eval knows no key `{unknown[1]}` in a task file"
    return _lacking(error, config) or one_line(error) if config else one_line(error)


def _lacking(error: Exception, config: Mapping[str, Any]) -> str | None:
    """What the file lacks or misspells."""
    kind = config.get("output_type", "generate_until")
    if kind not in _OUTPUT_TYPES:
        return f"its output_type is {kind!r}; lm-eval has {', '.join(_OUTPUT_TYPES)}"
    needed = ["dataset_path", "doc_to_text", "doc_to_target"]
    needed += ["doc_to_choice"] if kind == "multiple_choice" else []
    if missing := [key for key in needed if config.get(key) is None and not _is_custom(config)]:
        return f"its file has no {' and no '.join(f'`{key}`' for key in missing)}"
    if "test_split" not in config and "validation_split" not in config:
        return "its file names no items to score: add `test_split:` with the name of a split"
    return _misspelt(error, config)


def _misspelt(error: Exception, config: Mapping[str, Any]) -> str | None:
    """The name in the file that lm-eval did not find."""
    if "malformed node" in str(error):
        return f"its doc_to_choice, {config.get('doc_to_choice')!r}, is no column and no list"
    if not isinstance(error, KeyError) or not error.args:
        return None
    wanted = error.args[0]
    if wanted is None:
        named = ", ".join(str(each.get("metric")) for each in config.get("metric_list") or ())
        return f"lm-eval lacks a metric or an aggregation of its metric_list ({named})"
    key = next((key for key in _SPLITS if config.get(key) == wanted), None)
    return f"its data have no split {wanted!r}, which `{key}` names" if key else None


def _is_custom(config: Mapping[str, Any]) -> bool:
    """Whether a task gets data or prompts in another way."""
    return any(key in config for key in ("custom_dataset", "use_prompt", "class"))


def unusable_fields(leaf: Any) -> Iterable[str]:
    """What a loaded task cannot be scored with: missing fields, unknown metrics, no columns.

    A misspelt column is one word for all items.
    """
    if leaf.OUTPUT_TYPE == "multiple_choice" and leaf.config.doc_to_choice is None:
        yield "its file has no `doc_to_choice`"
    if not callable(leaf.config.process_results):
        functions = getattr(leaf, "_metric_fn_list", {})
        yield from (
            f"lm-eval has no metric {name!r}" for name, each in functions.items() if each is None
        )
    columns = list(leaf.features or ())
    for field in _FIELDS:
        value = getattr(leaf.config, field, None)
        if isinstance(value, str) and re.fullmatch(r"[A-Za-z]\w*", value) and value not in columns:
            yield f"`{field}: {value}` is no column of its data ({', '.join(columns)})"
