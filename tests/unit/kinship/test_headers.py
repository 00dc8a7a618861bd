"""Headers of safetensors files: what is sound is read, what is not is refused by name."""

from __future__ import annotations

import json
import struct

import pytest

from evomerge.kinship.errors import WeightFileError
from evomerge.kinship.headers import INDEX, read_folder, read_header


def write(file, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return file


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_sound_header_gives_places_in_the_file(tmp_path):
    header = {
        "__metadata__": {"format": "pt"},
        "b": entry("BF16", [2, 3], 8, 20),
        "a": entry("F32", [2], 0, 8),
        "scalar": entry("F16", [], 20, 22),
    }
    file = write(tmp_path / "model.safetensors", header, bytes(22))
    tensors = read_header(file)
    start = file.stat().st_size - 22
    assert {name: (one.offset - start, one.size) for name, one in tensors.items()} == {
        "a": (0, 8),
        "b": (8, 12),
        "scalar": (20, 2),
    }
    assert (tensors["b"].rows, tensors["b"].row_size) == (2, 3)
    assert (tensors["scalar"].rows, tensors["scalar"].row_size) == (1, 1)
    assert read_folder(tmp_path) == tensors


@pytest.mark.parametrize(
    ("header", "data", "problem"),
    [
        (b"[]", b"", "not an object"),
        (b"{", b"", "cannot be read"),
        (b"\xff\xfe{}", b"", "cannot be read"),
        (b'{"a": 1, "a": 2}', b"", "occurs twice"),
        ({"a": 3}, b"", "tensor a is not an object"),
        ({"a": entry("F32", [-1], 0, 4)}, b"1234", "tensor a is invalid"),
        ({"a": entry("F32", [True], 0, 4)}, b"1234", "tensor a is invalid"),
        ({"a": entry("F32", [1.0], 0, 4)}, b"1234", "tensor a is invalid"),
        ({"a": entry(4, [1], 0, 4)}, b"1234", "tensor a is invalid"),
        ({"a": {"dtype": "F32", "shape": [1]}}, b"1234", "tensor a is invalid"),
        ({"a": entry("F32", [2], 0, 4)}, b"1234", "tensor a, F32"),
        ({"a": entry("F32", [0], 4, 4)}, b"1234", "follows a hole"),
        ({"a": entry("XY", [1], 4, 0)}, b"1234", "tensor a, XY"),
        ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 2, 6)}, bytes(6), "overlaps"),
        ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}, bytes(12), "hole"),
        ({"a": entry("F32", [2], 0, 8)}, b"1234", "truncated"),
        ({"a": entry("F32", [10**12], 0, 4 * 10**12)}, b"1234", "truncated"),
        ({"a": entry("F32", [1], 0, 4)}, b"12345", "1 bytes follow"),
    ],
)
def test_an_unsound_header_is_refused(tmp_path, header, data, problem):
    file = write(tmp_path / "x.safetensors", header, data)
    with pytest.raises(WeightFileError, match=problem) as caught:
        read_header(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"1234", struct.pack("<Q", 2**63), b"\xff" * 20])
def test_an_absurd_length_is_refused(tmp_path, content):
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightFileError, match="does not fit"):
        read_header(file)


def test_an_unknown_dtype_only_takes_its_place(tmp_path):
    header = {"a": entry("F6_E2M3", [4], 0, 3), "b": entry("F16", [1], 3, 5)}
    assert set(read_header(write(tmp_path / "x.safetensors", header, bytes(5)))) == {"a", "b"}


def shards(folder, weight_map):
    for number in (1, 2):
        header = {f"t{number}": entry("F32", [1], 0, 4)}
        write(folder / f"s{number}.safetensors", header, b"1234")
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_read_through_their_index(tmp_path):
    shards(tmp_path, {"t1": "s1.safetensors", "t2": "s2.safetensors"})
    assert {one.file.name for one in read_folder(tmp_path).values()} == {
        "s1.safetensors",
        "s2.safetensors",
    }


@pytest.mark.parametrize(
    ("weight_map", "problem"),
    [
        ({}, "no weight_map"),
        ({"t1": "s3.safetensors"}, "cannot read .*s3"),
        ({"t2": "s1.safetensors"}, "tensor t2 is not in s1"),
        ({"t1": "../s1.safetensors"}, "not the name of a file"),
        ({"t1": 1}, "not the name of a file"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, weight_map, problem):
    shards(tmp_path, weight_map)
    with pytest.raises(WeightFileError, match=problem):
        read_folder(tmp_path)


def test_a_folder_without_weights_or_with_a_choice_is_refused(tmp_path):
    with pytest.raises(WeightFileError, match="no safetensors weights"):
        read_folder(tmp_path / "nowhere")
    header = {"a": entry("F32", [1], 0, 4)}
    only = write(tmp_path / "one.safetensors", header, b"1234")
    assert read_folder(tmp_path)["a"].file == only
    write(tmp_path / "two.safetensors", header, b"1234")
    with pytest.raises(WeightFileError, match="2 safetensors files"):
        read_folder(tmp_path)
    write(tmp_path / "model.safetensors", header, b"1234")
    assert read_folder(tmp_path)["a"].file.name == "model.safetensors"
