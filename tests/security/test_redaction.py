"""Secrets of the environment and what looks like one reach no log and no message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evomerge.adapters.child import Child
from evomerge.adapters.redaction import Redactor
from evomerge.domain.errors import CandidateError
from evomerge.ports import Operation

CANARY = "canary-0123456789-canary"
LOOKS_LIKE_ONE = "hf_" + "Abcdefgh0123456789"

CHATTY = """
import logging, os, sys, warnings

def chat(operation, progress):
    token = os.environ["HF_TOKEN"]
    print("printed", token)
    print("to stderr", token, file=sys.stderr)
    sys.stderr.writelines(["a line ", token])
    logging.getLogger("x").warning("logged %s", token)
    warnings.warn(f"warned {token} and {operation.arguments['other']}")
    raise ValueError(f"403 for Authorization: Bearer {token}")

def die(operation, progress):
    os.write(2, f"from C code: {os.environ['HF_TOKEN']}\\n".encode())
    os._exit(3)

def operations(device):
    return {"chat": chat, "die": die}
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    (tmp_path / "chatty_child.py").write_text(CHATTY)
    monkeypatch.setenv("HF_TOKEN", CANARY)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    child = Child("chatty_child", {"chat", "die"}, tmp_path / "log", {"PYTHONPATH": path})
    yield child
    child.close()


def test_a_child_cannot_tell_a_token(child: Child, tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match="403 for Authorization") as caught:
        child.run(Operation(kind="chat", arguments={"other": LOOKS_LIKE_ONE}))
    assert CANARY not in str(caught.value)
    text = (tmp_path / "log").read_text()
    for word in ("printed", "to stderr", "a line", "logged", "warned", "ValueError"):
        assert word in text
    assert CANARY not in text
    assert LOOKS_LIKE_ONE not in text


def test_its_last_words_hold_none_either(child: Child) -> None:
    with pytest.raises(CandidateError, match="from C code") as caught:
        child.run(Operation(kind="die"))
    assert CANARY not in str(caught.value)


def test_a_log_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "log").symlink_to("precious")
    with pytest.raises(CandidateError, match="cannot be started"):
        Child("evomerge.adapters.nothing", (), tmp_path / "log").start()
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("HF_TOKEN", CANARY, True),
        ("HUGGING_FACE_HUB_TOKEN", CANARY, True),
        ("OPENAI_API_KEY", CANARY, True),
        ("AWS_SECRET", CANARY, True),
        ("TOKENIZERS_PARALLELISM", "falsefalse", False),
        ("HF_TOKEN", "short", False),
        ("PATH", "/usr/local/bin", False),
    ],
)
def test_which_variables_are_secret(name: str, value: str, hidden: bool) -> None:
    assert (value not in Redactor({name: value})(f"<{value}>")) == hidden


@pytest.mark.parametrize("token", ["hf_" + "a" * 20, "sk-" + "b1" * 12, "ghp_" + "C" * 30])
def test_what_looks_like_a_token_is_hidden(token: str) -> None:
    assert Redactor({})(f"token={token}.") == "token=***."
    assert Redactor({})("hf_hub_download, task-specific, sk-learn") == (
        "hf_hub_download, task-specific, sk-learn"
    )
