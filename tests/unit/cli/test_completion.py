"""Shells complete commands, and neither that nor `--help` waits for libraries."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from evomerge import __version__
from evomerge.cli import COMMANDS

HEAVY = "torch transformers mergekit lm_eval safetensors altair vl_convert numpy scipy rich yaml"
HEAVY += " pydantic"
_IMPORTED = f"print(*[m for m in {HEAVY.split()} if m in sys.modules], file=sys.stderr)"


def completed(words: str, at: int) -> tuple[list[str], set[str]]:
    """What bash is given for the word `at` of a command line, and the libraries it waited for."""
    environment = {
        **os.environ,
        "_EVOMERGE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(at),
    }
    code = (
        "import sys, evomerge.cli as c\n"
        "sys.argv = ['evomerge']\n"
        f"try:\n    c.main()\nfinally:\n    {_IMPORTED}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    items = [line.partition(",")[2] for line in done.stdout.splitlines()]
    return items, set(done.stderr.split())


def test_commands_are_completed():
    items, libraries = completed("evomerge re", 1)
    assert items == [name for name in COMMANDS if name.startswith("re")]
    assert not libraries


def test_options_of_a_command_are_completed():
    items, libraries = completed("evomerge resume --", 2)
    assert "--accept-drift" in items
    assert libraries <= {"pydantic", "yaml"}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_no_library(option):
    code = f"import sys, evomerge.cli as c\ntry:\n    c.main()\nfinally:\n    {_IMPORTED}"
    done = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True)
    assert done.returncode == 0
    assert not done.stderr.split()
    assert (__version__ if option == "--version" else "Commands:") in done.stdout
