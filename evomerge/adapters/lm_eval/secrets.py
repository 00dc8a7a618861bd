"""Tokens and passwords in `evaluation.model_args`: never stored, never logged.

An evaluation id contains only a digest of them, since another token may select another model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

_SECRET_NAME = re.compile(
    r"token$|secret|password|passwd|api_?key|credential|^auth|auth$", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"^(hf_|sk-|ghp_)[A-Za-z0-9_-]{16,}$")
_TOO_SHORT = 4

Argument = str | int | float | bool


def is_secret(name: str, value: object) -> bool:
    """Whether an argument's name or value looks like a secret.

    Token *ids* (`prefix_token_id`) and flags (`add_bos_token: true`) do not.
    """
    if not isinstance(value, str):
        return False
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.match(value))


def without_secrets(arguments: Mapping[str, Argument]) -> dict[str, Argument]:
    """`arguments` with every secret replaced by `sha256:<hex>`."""
    return {
        name: f"sha256:{hashlib.sha256(str(value).encode()).hexdigest()}"
        if is_secret(name, value)
        else value
        for name, value in arguments.items()
    }


def redacted(text: str, arguments: Mapping[str, Argument]) -> str:
    """`text` without the secrets of `arguments`, which libraries may quote in errors."""
    for name, value in arguments.items():
        if is_secret(name, value) and len(str(value)) >= _TOO_SHORT:
            text = text.replace(str(value), "***")
    return text
