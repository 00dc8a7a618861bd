"""Recorded results are shown, and refused in one line where weights or logs are needed."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from evomerge.cli import cli
from evomerge.domain.errors import UsageError

PAPER = Path(__file__).parents[3] / "runs" / "paper-kinship"


@pytest.mark.parametrize("words", ["gain", "kinship", "verify", "resume", "rebuild", "export"])
def test_what_needs_weights_or_logs_says_why_not(words, tmp_path):
    shutil.copytree(PAPER, tmp_path / "paper")
    more = {"rebuild": ["model-1-1"], "export": ["--to", str(tmp_path / "out")]}.get(words, [])
    done = CliRunner().invoke(cli, [words, str(tmp_path / "paper"), *more])
    assert isinstance(done.exception, UsageError), done.output
    assert "holds recorded results" in str(done.exception)
