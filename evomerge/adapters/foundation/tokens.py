"""What the tokenizers of models have in common, told from their files.

A merge works on rows of the embedding. Rows of the same number that stand for different tokens
are mixed without a word, and a model whose vocabulary has as many rows looks as if it fitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evomerge.domain.finding import Finding

TOLERATED = 0.01
"""The share of rows that a fine-tune may rename: reserved tokens that it gave a use."""


def read_tokens(folder: Path) -> Mapping[int, str]:
    """The token of every row, from `tokenizer.json`; empty where that is missing or strange."""
    try:
        content = json.loads((folder / "tokenizer.json").read_bytes())
        known = content["model"]["vocab"]
        pairs = (
            known.items() if isinstance(known, dict) else ((t[0], i) for i, t in enumerate(known))
        )
        tokens = {int(row): str(token) for token, row in pairs}
        added = {int(each["id"]): str(each["content"]) for each in content.get("added_tokens", ())}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    return {**tokens, **added}


def compare_tokens(
    name: str, own: Mapping[int, str], base: Mapping[int, str], setting: str
) -> Finding | None:
    """Whether the rows that two models share stand for the same tokens.

    Args:
        setting: `merge.tokenizer`.
    """
    if not own or not base or setting == "union":
        return None
    differing = sorted(row for row in own.keys() & base.keys() if own[row] != base[row])
    if not differing:
        return None
    row = differing[0]
    many = len(differing) > TOLERATED * len(base)
    return Finding(
        "problem" if many and setting == "auto" else "warning",
        name,
        f"{len(differing)} of its tokens are not the base model's: row {row} is {own[row]!r} here, "
        f"{base[row]!r} there; a merge would mix them",
        "set `merge.tokenizer: union`, which matches rows by token",
    )


def chat_template(folder: Path) -> str | None:
    """The chat template of a model; None where it has none."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        settings = _json(folder / "tokenizer_config.json")
        template = settings.get("chat_template")
        return None if template is None else json.dumps(template, sort_keys=True)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
