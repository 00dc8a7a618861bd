"""Redaction of secrets from output: libraries quote tokens in errors and warnings."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import TextIO

_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIALS?)$", re.IGNORECASE)
_LOOKS_LIKE_ONE = re.compile(r"\b(hf_|sk-|gh[pousr]_)[A-Za-z0-9_-]{16,}")
_TOO_SHORT = 8
_HIDDEN = "***"


class Redactor:
    """Replaces secrets of the environment, and strings that look like tokens, in texts."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        secrets = {
            value.strip()
            for name, value in environment.items()
            if _NAME.search(name) and len(value.strip()) >= _TOO_SHORT
        }
        self._secrets = sorted(secrets, key=len, reverse=True)  # one may contain another

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _LOOKS_LIKE_ONE.sub(_HIDDEN, text)


class _Redacting:
    """A text stream that redacts what is written and delegates everything else."""

    def __init__(self, stream: TextIO, redact: Redactor) -> None:
        self._stream = stream
        self._redact = redact

    def write(self, text: str) -> int:
        self._stream.write(self._redact(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def redact_output() -> Redactor:
    """Redact secrets of the environment from stdout and stderr of this process."""
    redact = Redactor(os.environ)
    sys.stdout = _Redacting(sys.stdout, redact)
    sys.stderr = _Redacting(sys.stderr, redact)
    return redact
