"""A hub on loopback for the tests of this folder, filled once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Hub
from loopback.contents import TOKEN, fill


@pytest.fixture(scope="session")
def server() -> Iterator[Hub]:
    """What it holds is never changed, but by tests that put it back."""
    hub = Hub()
    fill(hub)
    with hub:
        yield hub
    assert not hub.unknown


@pytest.fixture
def home(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HF_HOME; this process and its children ask the hub on loopback."""
    place = tmp_path / "hf"
    for name, value in {**server.environment(place), "HF_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(
        "HF_HUB_ETAG_TIMEOUT", "2"
    )  # seconds: hubs that do not answer are waited for
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "2")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server.requests.clear()
    server.authorized.clear()
    return place
