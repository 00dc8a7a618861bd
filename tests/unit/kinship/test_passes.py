"""The bytes of a pass: what goes in comes out, and nothing else is taken for a pass."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from evomerge.kinship.errors import PassFormatError
from evomerge.kinship.passes import Pass

GOLDEN = Path(__file__).parents[2] / "golden" / "kinship"


@pytest.fixture
def taken(pass_over):
    rng = np.random.default_rng(0)
    base = {"embed": rng.normal(size=(5, 3)), "body": rng.normal(size=(4, 2))}
    models = {
        model: {name: rng.normal(size=weight.shape) for name, weight in base.items()}
        for model in ("a", "b", "c")
    }
    del models["b"]["body"]
    return dataclasses.replace(
        pass_over(base, models, ["b"]),
        extra={"a": ("rotary",)},
        skipped={"base": {"steps": "I64"}},
        renamed={"c": {"embed": "model.embed"}},
    )


def test_a_pass_comes_back_from_its_bytes(taken):
    back = Pass.from_bytes(taken.to_bytes())
    assert back.to_bytes() == taken.to_bytes()
    for field in ("base", "models", "new", "extra", "skipped", "renamed"):
        assert getattr(back, field) == getattr(taken, field)
    assert back.new == ("b",)
    for one, other in zip(back.tensors, taken.tensors, strict=True):
        for field in ("name", "row_size", "base_rows", "rows", "model_rows", "new"):
            assert getattr(one, field) == getattr(other, field)
        np.testing.assert_array_equal(one.gram, other.gram)


def test_cut_bytes_are_refused(taken):
    data = taken.to_bytes()
    for length in range(0, len(data), 41):
        with pytest.raises(PassFormatError, match="damaged"):
            Pass.from_bytes(data[:length])


def test_a_flipped_bit_in_the_numbers_is_noticed(taken):
    data = bytearray(taken.to_bytes())
    place = bytes(data).index(taken.tensors[0].gram.tobytes())
    data[place] ^= 1
    with pytest.raises(PassFormatError, match="damaged"):
        Pass.from_bytes(bytes(data))


def rewritten(taken, **changes):
    with np.load(io.BytesIO(taken.to_bytes())) as archive:
        header, gram = json.loads(archive["header"].tobytes()), archive["gram"]
    header |= {key: value for key, value in changes.items() if key != "gram"}
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(buffer, header=text, gram=changes.get("gram", gram))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"gram": np.zeros(3)},
        {"gram": np.zeros(99)},
        {"gram": np.array(["x"], object)},
        {"gram": np.zeros(20, np.float32)},
        {"models": ["a", "a", "c"]},
        {"models": ["a", "base", "c"]},
        {"models": 3},
        {"tensors": [["body", 2, 4, [4, 4, 4], [7]]]},
        {"tensors": [["body", 0, 4, [4, 4, 4], []]]},
        {"tensors": "none"},
        {"extra": []},
    ],
)
def test_invalid_passes_are_refused(taken, changes):
    with pytest.raises(PassFormatError):
        Pass.from_bytes(rewritten(taken, **changes))


def test_a_later_format_is_named(taken):
    with pytest.raises(PassFormatError, match="unknown format 3"):
        Pass.from_bytes(rewritten(taken, format=3))


def test_a_file_of_the_first_format_is_read_without_the_products_of_the_base():
    taken = Pass.from_bytes((GOLDEN / "format-1.pass").read_bytes())
    assert (taken.format, taken.models, taken.new) == (1, ("a", "b", "c"), ("a", "b"))
    embed, body = taken.tensors
    known = [[-0.5, 0.390625, 0.0859375, 0.02734375], [-0.75, 0.0859375, 0.2890625, 0.09375]]
    np.testing.assert_array_equal(embed.gram, known)
    np.testing.assert_array_equal(body.gram, [[-0.375, 0.15625, np.nan, -0.0390625]])
