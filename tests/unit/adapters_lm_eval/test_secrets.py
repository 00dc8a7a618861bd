from __future__ import annotations

import hashlib

import pytest

from evomerge.adapters.lm_eval.secrets import is_secret, redacted, without_secrets

TOKEN = "hf_" + "a" * 30


@pytest.mark.parametrize(
    ("name", "value"),
    [("token", "x"), ("hub_token", "x"), ("api_key", "x"), ("password", "x"), ("header", TOKEN)],
)
def test_secrets(name: str, value: str) -> None:
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("add_bos_token", True), ("prefix_token_id", 1), ("tokenizer", "org/name"), ("revision", "x")],
)
def test_names_that_only_resemble_secrets(name: str, value: str | int | bool) -> None:
    assert not is_secret(name, value)


def test_only_digests_are_kept() -> None:
    kept = without_secrets({"token": TOKEN, "revision": "main"})
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    assert kept == {"token": f"sha256:{digest}", "revision": "main"}


def test_errors_are_redacted() -> None:
    assert redacted(f"401 for {TOKEN}", {"token": TOKEN}) == "401 for ***"
    assert redacted("a text", {"token": "a"}) == "a text"  # too short to be worth a search
