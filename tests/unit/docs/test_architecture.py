"""The map of the code is the code's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAP = (ROOT / "evomerge" / "ARCHITECTURE.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]
ROOMS = sorted(
    path.name + "/" if path.is_dir() else path.name
    for path in (ROOT / "evomerge").iterdir()
    if not path.name.startswith("_") and (path.is_dir() or path.suffix == ".py")
)


def rows(title: str) -> list[str]:
    """The first cells of a section's table."""
    section = MAP.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("room", ROOMS)
def test_every_package_has_its_row(room):
    assert any(f"`{room}`" in cell for cell in rows("Where things are"))


def test_every_row_is_there():
    named = re.findall(r"`([\w/.]+)`", " ".join(rows("Where things are")))
    assert [name for name in named if not (ROOT / "evomerge" / name).exists()] == []


def test_the_layers_are_those_that_are_checked():
    layers = " → ".join(CONTRACTS[0]["layers"]).replace("evomerge.", "")
    assert f"`{layers}`" in MAP


def test_the_contracts_cover_every_package():
    names = {f"evomerge.{room.removesuffix('/').removesuffix('.py')}" for room in ROOMS}
    layered = {name for layer in CONTRACTS[0]["layers"] for name in layer.split(" | ")}
    assert names == layered
    libraries = {"evomerge.adapters", "evomerge.kinship", "evomerge.merge_rules"}
    assert set(CONTRACTS[1]["source_modules"]) == names - libraries


def test_tests_that_it_names_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", MAP)
    assert named
    for file, test in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in text, f"{file}::{test}"


def test_modules_that_it_names_exist():
    named = re.findall(r"`((?:adapters|domain|store|terminal)/[\w/]+\.py)`", MAP)
    assert named
    assert [name for name in named if not (ROOT / "evomerge" / name).is_file()] == []


def test_a_class_name_stands_for_one_thing():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "evomerge").rglob("*.py")]
    names = [name for text in texts for name in re.findall(r"(?m)^class ([A-Z]\w*)", text)]
    assert not {name for name in names if names.count(name) > 1}
