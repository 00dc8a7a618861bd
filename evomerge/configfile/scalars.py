"""Resolution of YAML scalars: the core schema of YAML 1.2, without its surprising forms.

`no`, `on`, `0o17`, `017`, `1_000`, `1:30` and dates are strings; `1e-3` is a number. Reader and
writer share these rules, so that values survive a round trip.
"""

from __future__ import annotations

import math
import re
from typing import Any

NULL, BOOL, INT, FLOAT, TEXT, MERGE = (
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "merge")
)

RULES = (
    (NULL, re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    (BOOL, re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    (INT, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    (
        FLOAT,
        re.compile(
            r"""(?:[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?
            |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
            re.VERBOSE,
        ),
        list("-+.0123456789"),
    ),
    (MERGE, re.compile(r"<<$"), ["<"]),
)
"""(tag, pattern, possible first characters), tried in this order."""

_MAX_DIGITS = 40


def scalar(tag: str, text: str) -> Any:
    """The value of a plain or quoted scalar.

    Raises:
        ValueError: the text is a number that is not finite or too long.
    """
    if tag == NULL:
        return None
    if tag == BOOL:
        return text.lower() == "true"
    if tag not in {INT, FLOAT}:
        return text
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} characters; put a text in quotes")
    if tag == INT:
        return int(text)
    value = float(text) if text[-1] in "0123456789." else math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {text}")
    return value
