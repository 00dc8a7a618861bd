"""NaN and infinity by their bits, in every float of safetensors; a memory that is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from evomerge.adapters.file_checks import FileChecks
from evomerge.adapters.finite import first_not_finite
from evomerge.kinship.headers import StoredTensor

ONE = {"F64": "000000000000f03f", "F32": "0000803f", "F16": "003c", "BF16": "803f",
       "F8_E5M2": "3c", "F8_E4M3": "38"}  # fmt: skip
BAD = {
    "F64": ["000000000000f07f", "000000000000f0ff", "010000000000f07f"],
    "F32": ["0000807f", "000080ff", "0000c07f", "010080ff"],
    "F16": ["007c", "00fc", "017e"],
    "BF16": ["807f", "80ff", "c17f"],
    "F8_E5M2": ["7c", "fc", "7f"],
    "F8_E4M3": ["7f", "ff"],
}
LARGEST = {"F64": "ffffffffffffef7f", "F32": "ffff7f7f", "F16": "ff7b", "BF16": "7f7f",
           "F8_E5M2": "7b", "F8_E4M3": "7e"}  # fmt: skip


def stored(file: Path, dtype: str, *numbers: str) -> list[StoredTensor]:
    """A file of one tensor a number, each of 1,000 equal elements."""
    data, tensors = b"", []
    for place, number in enumerate(numbers):
        raw = bytes.fromhex(number) * 1000
        tensors.append(StoredTensor(f"t{place}", dtype, (1000,), file, len(data), len(raw)))
        data += raw
    file.write_bytes(data)
    return tensors


@pytest.mark.parametrize(("dtype", "bad"), [(kind, bits) for kind in BAD for bits in BAD[kind]])
def test_nan_and_infinity_are_found(dtype: str, bad: str, tmp_path: Path) -> None:
    tensors = stored(tmp_path / "x", dtype, ONE[dtype], LARGEST[dtype], bad, bad)
    assert first_not_finite(tmp_path / "x", tensors) == "t2"
    assert first_not_finite(tmp_path / "x", tensors[:2]) is None


def test_integers_are_numbers(tmp_path: Path) -> None:
    assert first_not_finite(tmp_path / "x", stored(tmp_path / "x", "I32", "ffffffff")) is None


def test_a_file_is_looked_at_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = stored(tmp_path / "x", "F32", ONE["F32"])
    memory = FileChecks(tmp_path / "memory.json")
    assert memory.not_finite(good) is None
    memory.save()
    with monkeypatch.context() as patch:
        patch.setattr("evomerge.adapters.file_checks.first_not_finite", None)
        assert FileChecks(tmp_path / "memory.json").not_finite(good) is None
    bad = stored(tmp_path / "x", "F32", BAD["F32"][0], ONE["F32"])
    assert FileChecks(tmp_path / "memory.json").not_finite(bad) == "t0"


def test_a_flipped_digit_in_the_memory_makes_no_other_model(tmp_path: Path) -> None:
    stored(tmp_path / "x", "F32", ONE["F32"])
    path = tmp_path / "memory.json"
    memory = FileChecks(path)
    (digest,) = memory.sha256([tmp_path / "x"]).values()
    memory.save()
    other = ("1" if digest[0] != "1" else "2") + digest[1:]
    path.write_text(path.read_text().replace(digest, other))
    assert FileChecks(path).sha256([tmp_path / "x"]) == {tmp_path / "x": digest}
