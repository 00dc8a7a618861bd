from __future__ import annotations

import datetime as dt
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evomerge.adapters.lm_eval.json_values import digest, plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([[1, 2]]), [[1, 2]]),
        ((1, [2]), [1, [2]]),
        ({1: math.nan}, {"1": "nan"}),
        ({"b", "a"}, ["a", "b"]),
        (range(3), [0, 1, 2]),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (object(), "builtins.object"),
    ],
)
def test_plain(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def _function() -> None: ...


def test_a_function_is_the_file_that_defines_it() -> None:
    told = plain(_function)
    assert told["function"] == "_function"
    assert plain(functools.lru_cache(_function)) == told
    assert plain(functools.partial(_function, 1)) == [told, [1], {}]
    assert plain(Path.exists) != told


def test_digest_depends_on_order_and_borders() -> None:
    assert digest([1, 2]) != digest([2, 1])
    assert digest(["a", "b"]) != digest(["a\nb"])
    assert digest([{"a": 1, "b": 2}]) == digest([{"b": 2, "a": 1}])
