"""Models of a hub: pinned, judged by their headers, fetched once, and every way that can fail."""

from __future__ import annotations

import hashlib
import json
import socket
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import Fault
from loopback import Hub as Server
from loopback.contents import ADAPTER, BASE, CHAT, INSTRUCT, MATHS, PICKLED, TOKEN
from safetensors.torch import load_file

from evomerge.adapters import machine, pickles
from evomerge.adapters.file_checks import FileChecks
from evomerge.adapters.foundation import Examination, Merging, Resolved, examine, fetch_all
from evomerge.adapters.hub import Hub
from evomerge.adapters.survey import survey
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import EvomergeError, PreflightError, StoppedError
from evomerge.store.artefacts import Store

WEIGHTS = r"CDN GET .*\.safetensors/\w+$"
HEADERS = r"CDN GET .*\.safetensors/\w+ bytes=0-100000"


class Person:
    """Someone who resolves models against the hub, and sees what is told."""

    def __init__(self, folder: Path, patience: float = 60.0, **options: Any) -> None:
        self.told: list[str] = []
        self.progress: dict[str, tuple[int, int]] = {}
        self.folder = folder
        self.patience = patience
        self.options = MergeOptions(**options)

    def fetched(self, file: str, done: int, total: int) -> None:
        self.progress[file] = (done, total)

    def examine(self, *models: str, **pins: str) -> Examination:
        with closing(self.hub()) as hub:
            configs = [ModelConfig(model=each) for each in models]
            return examine(configs, self.options, Merging(tokenizer="auto"), pins, hub)

    def hub(self) -> Hub:
        return Hub(self.patience, self.folder / "hub.log", self.told.append, self.fetched)

    def resolve(self, *models: str, pins: dict[str, str] | None = None) -> tuple[Resolved, ...]:
        store = Store(self.folder / "store")
        store.root.mkdir(exist_ok=True)
        convert = partial(pickles.convert, store, self.folder / "log")
        with closing(self.hub()) as hub:
            configs = [ModelConfig(model=each) for each in models]
            found = examine(configs, self.options, Merging(tokenizer="auto"), pins or {}, hub)
            found.faults.raise_any()
            known = FileChecks(self.folder / "digests.json")
            return fetch_all(found, self.options, known, hub, convert=convert)

    def fault(self, *models: str) -> EvomergeError:
        with pytest.raises(EvomergeError) as caught:
            self.resolve(*models)
        assert "\n" not in caught.value.message
        assert caught.value.remedy
        assert TOKEN not in str(caught.value)
        return caught.value


@pytest.fixture
def person(home: Path, tmp_path: Path) -> Person:
    return Person(tmp_path)


def test_models_are_pinned_fetched_once_and_then_need_no_hub(
    server: Server, person: Person, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = person.resolve(BASE, INSTRUCT, CHAT)
    commits = [server.repositories["models", name].commit() for name in (BASE, INSTRUCT, CHAT)]
    assert [each.foundation.content_id for each in models] == [f"hub-{each}" for each in commits]
    assert [each.foundation.vocabulary for each in models][1:] == [
        models[0].foundation.vocabulary,
        models[0].foundation.vocabulary + 2,
    ]
    files = server.repositories["models", BASE].files
    for file in models[0].path.glob("model*"):
        assert file.read_bytes() == files[file.name]
        assert file.is_symlink(), "in the layout of huggingface_hub"
    assert {done == total for done, total in person.progress.values()} == {True}
    whole = f"Mistral-7B-v0.1 {next(name for name in files if name.endswith('.safetensors'))}"
    assert whole in person.progress
    assert len(server.fetched(WEIGHTS)) == 5
    assert all(token is None for line, token in server.authorized if line.startswith("CDN"))

    server.requests.clear()
    assert person.resolve(BASE, INSTRUCT, CHAT) == models
    assert not server.fetched("resolve|CDN"), "the commits are asked for, nothing else"
    server.requests.clear()
    pins = dict(zip((BASE, INSTRUCT, CHAT), commits, strict=True))
    assert person.resolve(BASE, INSTRUCT, CHAT, pins=pins) == models
    assert not server.requests, "pinned models are here"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert person.resolve(BASE, INSTRUCT, CHAT) == models
    with closing(person.hub()) as hub:
        facts = survey([ModelConfig(model=each) for each in (BASE, CHAT, MATHS)], hub)
    assert [each.where for each in facts] == ["cached", "cached", "unknown"]
    assert "HF_HUB_OFFLINE" in str(facts[2].trouble)
    assert not server.requests


def test_trouble_that_passes_is_waited_for_and_told(server: Server, person: Person) -> None:
    faults = {
        "answers 502 (Bad Gateway)": Fault(r"^GET /api/models.*Instruct", times=1, status=502),
        "answers 504 (Gateway Timeout)": Fault(r"^GET .*auth-check", times=1, status=504),
        "answers 500 (Internal Server Error)": Fault(r"^HEAD .*config.json", times=1, status=500),
        "answers 503 (Service Unavailable)": Fault(WEIGHTS, times=1, status=503),
        "answers 429 (Too Many Requests)": Fault(
            WEIGHTS, times=1, status=429, headers={"Retry-After": "2"}
        ),
        "does not answer": Fault(r"^GET /api/models", times=1, kind="hang"),
        "broke the connection off": Fault(WEIGHTS, times=1, kind="drop", after=5000),
        "sent a damaged file": Fault(WEIGHTS, times=1, kind="corrupt"),
    }
    with server.failing(*faults.values()):
        models = person.resolve(BASE, INSTRUCT)
    assert all(fault.seen == 1 for fault in faults.values())
    told = "\n".join(person.told)
    for text in faults:
        assert f"the hub {text}: asked again in " in told
    assert "429 (Too Many Requests): asked again in 2 s (1 min left)" in told
    for model, name in zip(models, (BASE, INSTRUCT), strict=True):
        files = server.repositories["models", name].files
        for file in model.path.glob("*.safetensors"):
            assert file.read_bytes() == files[file.name]


def test_a_file_that_broke_off_is_continued(server: Server, person: Person) -> None:
    size = len(server.repositories["models", INSTRUCT].files["model.safetensors"])
    with server.failing(Fault(r"Instruct.*model\.safetensors", kind="drop", after=size // 2)):
        assert "broke the connection off" in str(Person(person.folder, 0).fault(BASE, INSTRUCT))
    (kept,) = person.folder.glob("hf/hub/models--*Instruct*/blobs/*.incomplete")
    assert kept.stat().st_size == size // 2, "what was fetched stays"
    person.resolve(BASE, INSTRUCT)
    assert min(person.progress["Mistral-7B-Instruct-v0.2 model.safetensors"]) > size // 2
    assert not list(person.folder.glob("hf/hub/*/blobs/*.incomplete"))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(WEIGHTS, status=503), "the hub answers 503 (Service Unavailable)"),
        (Fault(WEIGHTS, kind="hang"), "the hub does not answer"),
        (Fault(r"^GET /api/models.*Instruct", kind="hang"), "the hub does not answer"),
    ],
    ids=["503", "hang", "hang at once"],
)
def test_patience_ends_and_the_run_can_go_on(
    server: Server, person: Person, fault: Fault, told: str
) -> None:
    person.patience = 0.0
    with server.failing(fault):
        caught = person.fault(BASE, INSTRUCT)
    assert isinstance(caught, StoppedError)
    assert caught.exit_code == 75
    assert caught.message.startswith(told)
    assert person.resolve(BASE, INSTRUCT)


def test_a_file_that_is_damaged_each_time_is_refused(server: Server, person: Person) -> None:
    person.patience = 1000.0
    with server.failing(Fault(r"CDN GET .*Instruct.*safetensors/\w+$", kind="corrupt")):
        caught = person.fault(BASE, INSTRUCT)
    assert "sent a damaged file" in caught.message
    assert len(person.told) == 2
    assert not list(person.folder.glob("hf/hub/*Instruct*/snapshots/*/model.safetensors"))


def test_without_a_network_nothing_is_waited_for(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    person.patience = 1e6
    caught = person.fault(BASE, INSTRUCT)
    assert isinstance(caught, PreflightError)
    assert "nor in the hub's cache, and the hub cannot be reached" in caught.message
    assert not person.told
    with closing(person.hub()) as hub:
        assert machine.check_hub(hub, needed=True).message == "it cannot be reached"


def test_what_a_hub_refuses(
    server: Server, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = server.repositories["models", INSTRUCT]
    plan = lambda: survey([ModelConfig(model=INSTRUCT)], person.hub())[0]  # noqa: E731
    try:
        repository.gated = True
        assert (
            "the licence of this model has to be accepted" in person.fault(BASE, INSTRUCT).message
        )
        assert "accepted" in str(plan().trouble)
        repository.accepted.add(TOKEN)
        assert not person.examine(BASE, INSTRUCT).faults.found
        repository.disabled = True
        assert "the hub has taken this model down" in person.fault(BASE, INSTRUCT).message
    finally:
        repository.gated = repository.disabled = False
    assert "the hub has no revision v9" in person.fault(BASE, f"{INSTRUCT}@v9").message
    assert "nor a model on the hub" in person.fault(BASE, "mistralai/no-such-model").message
    assert "nor a model on the hub" in person.fault(BASE, "no-such-model").message
    assert "nor a hub id" in person.fault(BASE, "org/a--b").message
    monkeypatch.setenv("HF_TOKEN", "hf_expired_0123456789")
    assert "does not accept the token" in person.fault(BASE, INSTRUCT).message
    with closing(person.hub()) as hub:
        assert "does not accept the token" in machine.check_hub(hub, needed=False).message
    assert not server.fetched(WEIGHTS)


def test_a_model_with_another_name_now(server: Server, person: Person) -> None:
    server.renamed["models", "old/Instruct"] = INSTRUCT
    found = person.examine(BASE, "old/Instruct")
    assert f"is called {INSTRUCT} on the hub now" in str(found.warnings[0])
    assert person.resolve(BASE, "old/Instruct")[1].path.is_dir()


def test_models_that_do_not_fit_are_known_before_weights_are_fetched(
    server: Server, person: Person
) -> None:
    files = dict(server.repositories["models", INSTRUCT].files)
    config = json.loads(files["config.json"])
    files["config.json"] = json.dumps({**config, "vocab_size": 7}).encode()
    server.add("models", "wrong/rows", files)
    assert "vocab_size 7" in person.fault(BASE, "wrong/rows").message
    assert not server.fetched(WEIGHTS)
    assert len(server.fetched(HEADERS)) == 4


def test_pickles_are_told_before_anything_is_fetched_and_converted_with_permission(
    server: Server, person: Person
) -> None:
    caught = person.fault(BASE, PICKLED)
    assert "its weights are pickled" in caught.message
    assert "allow_pickle: true" in str(caught.remedy)
    assert not server.fetched(rf"{WEIGHTS}|\.bin")
    person.options = MergeOptions(allow_pickle=True)
    (told,) = person.examine(BASE, PICKLED).warnings
    assert "kept as safetensors" in told.message
    assert not server.fetched(rf"{WEIGHTS}|\.bin")
    own = person.resolve(BASE, PICKLED)[1]
    assert own.path == person.folder / "store" / "models" / own.foundation.content_id
    plain = person.resolve(BASE, MATHS)[1]

    a, b = load_file(own.path / "model.safetensors"), load_file(plain.path / "model.safetensors")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert own.size == plain.size
    assert own.tokenizer == own.path
    server.requests.clear()
    for file in person.folder.glob("hf/hub/models--pickled*/snapshots/*/*.bin"):
        file.resolve().unlink()
        file.unlink()
    assert person.resolve(BASE, PICKLED)[1] == own
    assert not server.fetched("CDN"), "it is in the store"


def test_an_adapter_of_the_hub(server: Server, person: Person) -> None:
    found = person.examine(BASE, ADAPTER)
    assert "LoRA adapter, rank 2 on 4 modules" in found.adapters[0].message
    assert not server.fetched(WEIGHTS)
    model = person.resolve(BASE, ADAPTER)[1].foundation
    assert model.adapter is not None
    assert model.commit == server.repositories["models", ADAPTER].commit()


def test_settings_that_differ_from_the_base_model_s_are_told(person: Person) -> None:
    (told,) = person.examine(BASE, INSTRUCT, CHAT).warnings
    assert told.subject == "Mistral-7B-Instruct-v0.2"
    assert "rope_theta 1000000.0 (10000.0), sliding_window None (4096)" in told.message


def test_a_disk_that_is_too_small_for_the_downloads_is_known_before(person: Person) -> None:
    found = person.examine(BASE, INSTRUCT)
    assert all(size > 0 for size in found.to_fetch.values())
    person.resolve(BASE, INSTRUCT)
    assert sum(person.examine(BASE, INSTRUCT).to_fetch.values()) == 0


def test_a_cache_whose_disk_fills_up_stops_the_run(server: Server, person: Person) -> None:
    body = server.repositories["models", INSTRUCT].files["model.safetensors"]
    blobs = person.folder / "hf" / "hub" / f"models--{INSTRUCT.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(body).hexdigest()}.incomplete").symlink_to("/dev/full")
    with pytest.raises(StoppedError, match="the disk is full or failing") as caught:
        person.resolve(BASE, INSTRUCT)
    assert caught.value.exit_code == 75
