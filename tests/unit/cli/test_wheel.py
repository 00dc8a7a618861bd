"""A wheel works outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from evomerge import __version__

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The unpacked wheel of a copy of the sources, so that no old build is in it."""
    pytest.importorskip("setuptools", minversion="77")
    sources, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "evomerge", sources / "evomerge", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-build-isolation", "--disable-pip-version-check", "-w", out, sources],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_it_holds_every_file_of_the_package(installed):
    def files(root: Path) -> set[str]:
        there = (
            path
            for path in (root / "evomerge").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        )
        return {str(path.relative_to(root)) for path in there if path.suffix != ".pyc"}

    assert files(installed) == files(ROOT)


def test_it_names_the_console_script(installed):
    [entries] = installed.glob("*.dist-info/entry_points.txt")
    assert "evomerge = evomerge.cli:main" in entries.read_text(encoding="utf-8")


def test_it_works_elsewhere(installed, tmp_path):
    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    templates = "from evomerge.report.page import environment; t = environment()"
    check = f"{templates}; [t.get_template(name) for name in t.list_templates()]"
    where = python("-c", f"{check}; import evomerge; print(evomerge.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    assert __version__ in python("-m", "evomerge", "--version")
    assert "Commands:" in python("-m", "evomerge", "--help")
    python("-m", "evomerge", "init", "my.yaml")
    python("-m", "evomerge", "validate", "my.yaml")
