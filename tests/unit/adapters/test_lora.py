"""LoRA adapters, judged by their config and file headers, before anything is merged."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from evomerge.adapters import foundation
from evomerge.adapters.folders import folder_of
from evomerge.adapters.foundation import Merging, examine, resolve_all
from evomerge.adapters.foundation.lora import changed_tensors
from evomerge.adapters.hub import Hub
from evomerge.adapters.peft import as_merged_before
from evomerge.config import MergeOptions, ModelConfig
from evomerge.domain.errors import PreflightError
from evomerge.domain.finding import Finding
from evomerge.domain.model import Foundation
from evomerge.store.artefacts import Store

from .test_foundation import Shapes, make, shapes, write_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UP = "model.layers.0.mlp.up_proj"
PREFIX = "base_model.model."


def parts(rank: int = 2, rows: int = 6, columns: int = 4, module: str = UP) -> dict[str, Any]:
    return {
        f"{PREFIX}{module}.lora_A.weight": (rank, columns),
        f"{PREFIX}{module}.lora_B.weight": (rows, rank),
    }


def adapter(folder: Path, tensors: Shapes | None = None, fill: int = 0, **config: Any) -> Path:
    folder.mkdir(parents=True)
    content = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": "some/base", **config}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    write_weights(folder / "adapter_model.safetensors", tensors or parts(), fill)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make(tmp_path / "models" / "base")


def resolve(
    base: Path, *others: Path | str, **options: Any
) -> tuple[tuple[foundation.Resolved, ...], list[Finding]]:
    warnings: list[Finding] = []
    models = [ModelConfig(model=str(each)) for each in others]
    digests = base.parent / "digests.json"
    found = resolve_all(
        ModelConfig(model=str(base)),
        models,
        MergeOptions(**options),
        digests,
        Hub(),
        warn=warnings.append,
    )
    return found, warnings


def fault(base: Path, *others: Path | str, **options: Any) -> PreflightError:
    with pytest.raises(PreflightError) as caught:
        resolve(base, *others, **options)
    assert "\n" not in caught.value.message
    assert caught.value.remedy
    return caught.value


def test_an_adapter_stands_for_a_whole_model(base: Path, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora")
    ((origin, model), warnings) = resolve(base, lora)
    own = model.foundation
    assert own.adapter is not None
    assert own.content_id == own.adapter.merged_onto(origin.foundation.content_id)
    assert own.content_id.startswith("adapter1-")
    assert own.adapter.engine == f"peft {version('peft')}"
    assert (model.size, own.vocabulary) == (origin.size, origin.foundation.vocabulary)
    assert model.tokenizer == base
    assert folder_of(own, tmp_path / "store") == tmp_path / "store" / "models" / own.content_id
    assert [str(each) for each in warnings] == []


def test_its_id_depends_on_all_that_the_result_depends_on(base: Path, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora")

    def identity(origin: Path = base) -> str:
        return resolve(origin, lora)[0][1].foundation.content_id

    seen = {identity(), identity(make(tmp_path / "models" / "other" / "base", fill=1))}
    (lora / "README.md").write_text("no part of it")
    assert identity() in seen
    write_weights(lora / "adapter_model.safetensors", parts(), 1)
    seen.add(identity())
    (lora / "tokenizer.json").write_text("{}")
    seen.add(identity())
    assert resolve(base, lora)[0][1].tokenizer == lora
    config = json.loads((lora / "adapter_config.json").read_text())
    (lora / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 7}))
    seen.add(identity())
    assert len(seen) == 5


def test_a_run_goes_on_with_what_an_earlier_peft_made(base: Path, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora")
    origin, model = resolve(base, lora)[0]
    began, store = origin.foundation.content_id, Store(tmp_path / "store")
    now = model.foundation
    assert now.adapter is not None
    earlier = now.adapter.model_copy(update={"engine": "peft 0.0"})
    old = now.model_copy(update={"adapter": earlier, "content_id": earlier.merged_onto(began)})

    def resumed(base_id: str = began) -> Foundation:
        return as_merged_before([model], base_id, [origin.foundation, old], store)[0].foundation

    assert resumed() == now, "it is no longer in the store: a drift that the driver names"
    store.obtain(f"models/{old.content_id}", lambda into: (into / "a").touch())
    assert resumed() == old
    assert resumed("another base") == now
    write_weights(lora / "adapter_model.safetensors", parts(), 1)
    changed = resolve(base, lora)[0][1]
    assert as_merged_before([changed], began, [old], store) == (changed,)
    assert as_merged_before([origin], began, [origin.foundation], store) == (origin,)


def test_the_hub_commit_of_an_adapter_is_pinned(base: Path, tmp_path: Path) -> None:
    model = resolve(base, adapter(tmp_path / "lora"))[0][1].foundation
    assert model.adapter is not None
    assert model.commit is None
    pinned = model.adapter.model_copy(update={"content_id": f"hub-{COMMIT}"})
    assert model.model_copy(update={"adapter": pinned}).commit == COMMIT


WRONG: dict[str, tuple[dict[str, Any] | None, dict[str, Any], str]] = {
    "other width": (parts(columns=5), {}, f"{UP} is trained for [6, 5], the base's is [6, 4]"),
    "other module": (parts(module="model.x"), {}, "the base has no model.x.weight"),
    "half of it": (
        {f"{PREFIX}{UP}.lora_A.weight": (2, 4)},
        {},
        f"{UP} lacks lora_B",
    ),
    "ranks that differ": (
        {**parts(), f"{PREFIX}{UP}.lora_B.weight": (6, 3)},
        {},
        f"{UP} has parts that do not belong together, [6, 3] and [2, 4]",
    ),
    "rank of the config": (parts(), {"r": 4}, f"{UP} has rank 2, and adapter_config.json says 4"),
    "no rank": (parts(), {"r": "4"}, "its adapter_config.json says r '4'"),
    "a vector": (parts(module="model.norm"), {}, "model.norm is no matrix"),
    "a head": ({**parts(), "score.weight": (2, 4)}, {}, "the base has no score.weight"),
    "more tokens": (
        {**parts(), f"{PREFIX}model.embed_tokens.weight": (9, 4)},
        {},
        "model.embed_tokens.weight is [9, 4], the base's [8, 4]",
    ),
    "not LoRA": (parts(), {"peft_type": "IA3"}, "it is an adapter of type IA3, not LoRA"),
    "layers": (parts(), {"layer_replication": [[0, 1], [0, 1]]}, "it repeats layers"),
    "not finite": (parts(), {"fill": 255}, "lora_A.weight holds NaN or infinity"),
}


@pytest.mark.parametrize(("tensors", "config", "message"), WRONG.values(), ids=WRONG)
def test_an_adapter_that_cannot_be_merged_is_refused_in_a_line(
    base: Path, tmp_path: Path, tensors: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    error = fault(base, adapter(tmp_path / "lora", tensors, **config))
    assert error.message.startswith(f"lora ({tmp_path / 'lora'}): ")
    assert message in error.message


def test_many_faults_are_counted(base: Path, tmp_path: Path) -> None:
    tensors = {k: v for n in range(5) for k, v in parts(module=f"model.m{n}").items()}
    error = fault(base, adapter(tmp_path / "lora", tensors))
    assert "the base has no model.m2.weight, and 2 more" in error.message
    assert "some/base" in (error.remedy or "")


def test_what_may_be_in_an_adapter(base: Path, tmp_path: Path) -> None:
    embedding = f"{PREFIX}model.embed_tokens.lora_embedding_"
    tensors = {
        **parts(),
        f"{PREFIX}{UP}.lora_magnitude_vector": (6,),
        f"{embedding}A": (3, 8),
        f"{embedding}B": (4, 3),
        f"{PREFIX}model.norm.modules_to_save.weight": (4,),
    }
    lora = adapter(tmp_path / "lora", tensors, rank_pattern={"embed": 3}, use_dora=True)
    assert resolve(base, lora)[0][1].foundation.adapter is not None
    assert changed_tensors(dict.fromkeys(tensors)) == [  # type: ignore[arg-type]
        "model.embed_tokens.weight", f"{UP}.weight", "model.norm.weight",
    ]  # fmt: skip


def test_transposed_weights(tmp_path: Path) -> None:
    base = make(tmp_path / "models" / "base")
    tensors = parts(rows=4, columns=6)
    assert "is trained for [4, 6]" in fault(base, adapter(tmp_path / "a", tensors)).message
    assert resolve(base, adapter(tmp_path / "b", tensors, fan_in_fan_out=True))


def test_tied_embeddings_are_not_changed(tmp_path: Path) -> None:
    tied = {name: shape for name, shape in shapes().items() if name != "lm_head.weight"}
    base = make(tmp_path / "models" / "base", tied, tie_word_embeddings=True)
    tensors = {**parts(), f"{PREFIX}model.embed_tokens.weight": (8, 4)}
    assert "which the base model ties" in fault(base, adapter(tmp_path / "lora", tensors)).message


def test_the_base_model_is_no_adapter(base: Path, tmp_path: Path) -> None:
    assert "the base model is an adapter" in fault(adapter(tmp_path / "lora"), base).message


def test_a_broken_base_is_the_only_fault(base: Path, tmp_path: Path) -> None:
    (base / "config.json").unlink()
    assert fault(base, adapter(tmp_path / "lora")).message.startswith("base (")


def test_pickled_adapters_are_refused(base: Path, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora")
    (lora / "adapter_model.safetensors").rename(lora / "adapter_model.bin")
    assert "allow_pickle: true" in (fault(base, lora).remedy or "")
    assert resolve(base, lora, allow_pickle=True)[0][1].foundation.adapter is not None
    (lora / "adapter_model.bin").unlink()
    assert "adapter_model.safetensors is not there" in fault(base, lora).message


def test_another_base_model_is_warned_of(base: Path, tmp_path: Path) -> None:
    other = adapter(tmp_path / "lora", base_model_name_or_path="org/other-7B")
    (warning,) = resolve(base, other)[1]
    assert str(warning).startswith("lora: the adapter was trained on org/other-7B, and is merged ")
    assert warning.severity == "warning"


def test_doctor_says_that_it_will_be_merged(base: Path, tmp_path: Path) -> None:
    models = [ModelConfig(model=str(each)) for each in (base, adapter(tmp_path / "lora"))]
    (told,) = examine(models, MergeOptions(), Merging(), {}, Hub()).adapters
    assert str(told) == (
        "lora: a LoRA adapter, rank 2 on 1 modules; it is merged onto base once, into the store"
    )


def test_doctor_promises_nothing_of_one_that_does_not_fit(base: Path, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora", parts(columns=5))
    found = examine(
        [ModelConfig(model=str(each)) for each in (base, lora)],
        MergeOptions(),
        Merging(),
        {},
        Hub(),
    )
    assert found.adapters == []
    assert len(found.faults.found) == 1


def test_a_whole_model_beside_its_adapter_is_a_whole_model(base: Path, tmp_path: Path) -> None:
    whole = make(tmp_path / "models" / "whole", fill=1)
    (whole / "adapter_config.json").write_text("{}")
    assert resolve(base, whole)[0][1].foundation.adapter is None
