"""The checks of `evomerge doctor`, which are the preflight of a run too."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evomerge.adapters import machine
from evomerge.adapters.foundation import Merging, resolve_all
from evomerge.adapters.foundation.tokens import compare_tokens, read_tokens
from evomerge.adapters.hub import Hub
from evomerge.adapters.machine import Gpu, check_devices, check_disks, check_file_system
from evomerge.cli import doctor
from evomerge.config import MergeOptions, ModelConfig
from evomerge.configfile import load
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding, refuse_problems

from .test_foundation import make, shapes


def with_tokens(folder: Path, tokens: list[str], unigram: bool = False) -> Path:
    """A tokenizer whose rows stand for `tokens`."""
    vocab: Any = (
        [[token, -1.0] for token in tokens] if unigram else {t: i for i, t in enumerate(tokens)}
    )
    text = json.dumps({"model": {"vocab": vocab}, "added_tokens": []})
    (folder / "tokenizer.json").write_text(text)
    return folder


CONFIGS = Path(__file__).parents[3] / "configs"
LETTERS = list("abcdefgh")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return with_tokens(make(tmp_path / "models" / "base"), LETTERS)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return with_tokens(make(tmp_path / "models" / "other", fill=1), LETTERS)


def resolve(base: Path, *others: Path | str, **settings: Any) -> tuple[list[Finding], Any]:
    warnings: list[Finding] = []
    found = resolve_all(
        ModelConfig(model=str(base)),
        [ModelConfig(model=str(each)) for each in others],
        MergeOptions(),
        base.parent / "digests.json",
        Hub(),
        merging=Merging(**{"tokenizer": "auto", **settings}),
        warn=warnings.append,
    )
    return warnings, found


def test_models_that_agree_are_not_spoken_of(base: Path, other: Path) -> None:
    assert resolve(base, other)[0] == []


@pytest.mark.parametrize("unigram", [False, True])
def test_equal_rows_for_other_tokens_are_refused(base: Path, other: Path, unigram: bool) -> None:
    with_tokens(other, LETTERS[::-1], unigram)
    with pytest.raises(PreflightError) as caught:
        resolve(base, other)
    assert "8 of its tokens are not the base model's: row 0 is 'h' here, 'a' there" in str(
        caught.value
    )
    assert "merge.tokenizer: union" in str(caught.value)
    assert resolve(base, other, tokenizer="union")[0] == []
    (warning,) = resolve(base, other, tokenizer="copy")[0]
    assert warning.severity == "warning"


def test_rows_are_compared_by_token_where_a_union_is_made_anyway(
    base: Path, tmp_path: Path
) -> None:
    more = with_tokens(make(tmp_path / "more", shapes(10), fill=1), [*LETTERS[::-1], "x", "y"])
    assert resolve(base, more)[0] == []


def test_a_few_renamed_tokens_are_only_warned_of() -> None:
    base = {row: f"t{row}" for row in range(1000)}
    renamed = compare_tokens("m", {**base, 7: "<|im_start|>"}, base, "auto")
    assert renamed is not None
    assert renamed.severity == "warning"
    many = compare_tokens("m", {**base, **dict.fromkeys(range(11), "x")}, base, "auto")
    assert many is not None
    assert many.severity == "problem"
    assert compare_tokens("m", {}, base, "auto") is None


def test_added_tokens_count(tmp_path: Path) -> None:
    text = {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "<s>"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(text))
    assert read_tokens(tmp_path) == {0: "a", 1: "<s>"}


def test_dtypes_ties_and_templates_that_differ(base: Path, tmp_path: Path) -> None:
    half = with_tokens(
        make(tmp_path / "models" / "half", fill=1, tie_word_embeddings=True), LETTERS
    )
    weights = half / "model.safetensors"
    weights.write_bytes(
        weights.read_bytes().replace(b"BF16", b"F16 ").replace(b'"F16 "', b'"F16" ')
    )
    (base / "chat_template.jinja").write_text("{{ messages }}")
    warnings, _ = resolve(base, half, chat_template=True)
    told = {each.subject: each.message for each in warnings}
    assert told["dtype"] == "the models are stored in different ones: base BF16, half F16"
    assert told["embeddings"].startswith("tied in half, not in the others")
    assert "it has no chat template" in told["half"]
    assert [w.subject for w in resolve(base, half, dtype="float32")[0]] == ["embeddings"]


def test_chat_templates_of_foundation_models_that_differ(
    base: Path, other: Path, tmp_path: Path
) -> None:
    third = with_tokens(make(tmp_path / "third", fill=2), LETTERS)
    (other / "chat_template.jinja").write_text("one")
    (third / "tokenizer_config.json").write_text(json.dumps({"chat_template": "two"}))
    warnings, _ = resolve(base, other, third, chat_template=True)
    assert [each.subject for each in warnings] == ["chat templates"]
    assert resolve(base, other, third, chat_template=True, template=True)[0] == []


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with closing(Hub()) as hub:
        assert machine.check_hub(hub, needed=True).severity == "problem"
        assert machine.check_hub(hub, needed=False).severity == "fine"


def grades(findings: Any) -> list[str]:
    return [each.severity for each in findings]


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "gpus", lambda: None)
    assert grades(check_devices(["cpu"], 1e9)) == ["fine"]
    assert grades(check_devices(["cpu"], 20e9)) == ["warning"]
    (missing,) = check_devices(["cuda:0"], None)
    assert missing.severity == "problem"
    assert "no GPUs are visible" in missing.message
    two = (Gpu("H100", 80 * 10**9, 70 * 10**9), Gpu("H100", 80 * 10**9, 70 * 10**9))
    monkeypatch.setattr(machine, "gpus", lambda: two)
    assert grades(check_devices(["cuda:0", "cuda:1"], 20e9)) == ["fine", "fine"]
    assert grades(check_devices(["cuda:2"], 20e9)) == ["fine", "fine", "problem"]
    assert grades(check_devices(["cuda:0", "cuda:0"], 50e9)) == ["fine", "fine", "warning"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "problem" in grades(check_devices(["cuda:1"], None))


def test_disk_and_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "not" / "there" / "yet"

    def disk(*needed: Any) -> str:
        (found,) = check_disks([(runs, *each, "all") for each in needed])
        return found.severity

    assert disk((1.0, 2.0)) == "fine"
    assert disk((1.0, 1e18)) == "warning"
    assert disk((1e18, 1e18)) == "problem"
    free = shutil.disk_usage(tmp_path).free
    assert disk((free * 0.6, None)) == "fine"
    assert disk((free * 0.6, None), (free * 0.6, None)) == "problem", "both come to one disk"
    assert check_file_system(runs).severity == "fine"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(machine, "file_system", lambda _: "nfs4")
    assert check_file_system(runs).severity == "warning"
    monkeypatch.setattr(machine, "_locks_hold", lambda _: False)
    assert "file locks do not work" in check_file_system(runs).message


def test_problems_are_refused_together() -> None:
    refuse_problems([Finding("fine", "a", "b"), Finding("warning", "a", "b")])
    with pytest.raises(PreflightError, match=r"2 problems:\na: b; mend it\nc: d"):
        refuse_problems([Finding("problem", "a", "b", "mend it"), Finding("problem", "c", "d")])


def test_the_command_tells_everything_at_once(
    base: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with_tokens(other, LETTERS[::-1])
    wide = with_tokens(make(tmp_path / "models" / "wide", shapes(width=5), fill=2), LETTERS)
    config = tmp_path / "c.yaml"
    config.write_text(
        f"run: {{name: x, dir: {tmp_path / 'runs'}}}\nbase_model: {base}\n"
        f"foundation_models: [{other}, {wide}]\nmerge: {{method: slerp}}\n"
        "evaluation: {tasks: [a]}\nexecution: {devices: ['cuda:9']}\n"
    )
    shown = CliRunner().invoke(doctor.command, [str(config), "--quick", "--json"])
    assert shown.exit_code == 3, shown.output
    found = json.loads(shown.stdout)["findings"]
    problems = {each["subject"]: each for each in found if each["severity"] == "problem"}
    assert {"devices", "other", "wide"} == {*problems}
    assert all(each["remedy"] for each in problems.values())
    text = CliRunner().invoke(doctor.command, [str(config), "--quick"]).output
    assert "3 problems" in text
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("backend", "version", "gpus", "proposed"),
    [
        ("hf", "0.32.0", (Gpu("H100", 80, 80),), True),
        ("hf", None, (Gpu("H100", 80, 80),), False),
        ("hf", "0.32.0", None, False),
        ("vllm", "0.32.0", (Gpu("H100", 80, 80),), False),
    ],
)
def test_vllm_is_proposed_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, backend: str, version: str, gpus: Any, proposed: bool
) -> None:
    monkeypatch.setattr(machine, "installed", lambda library: version)
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    config = load(CONFIGS / "mistral7b.yaml", [f"evaluation.backend={backend}"])
    found = [each.remedy or "" for each in machine.check_backend(config)]
    assert ["evaluation.backend=vllm" in remedy for remedy in found] == [True] * proposed
