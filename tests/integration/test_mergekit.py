"""Real merges of tiny random models: what mergekit does, and what it is not allowed to do."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from evomerge.adapters.mergekit import worker
from evomerge.config import MergeOptions
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.execution import operations
from evomerge.execution.pool import no_progress
from evomerge.merge_rules.wudi import merged_task_vector
from evomerge.ports import Worker
from evomerge.testing.contracts import changed, weighed

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TOKENS = ["<unk>", "<s>", "</s>", *(chr(33 + place) for place in range(61))]
HALVES = {"weight": 0.5, "density": 0.5}
Weights = dict[str, torch.Tensor]


def write_tokenizer(folder: Path, added: tuple[str, ...]) -> None:
    tokenizer = Tokenizer(
        models.WordLevel({token: row for row, token in enumerate(TOKENS)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.add_tokens(list(added), special_tokens=True)
    fast.save_pretrained(folder)


def write_model(
    folder: Path, seed: int, added: tuple[str, ...] = (), rows: int | None = None, **options: Any
) -> Path:
    """A random model of 64 rows and one more for each added token."""
    dtype = options.pop("dtype", torch.float32)
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=rows or 64 + len(added),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        **options,
    )
    MistralForCausalLM(config).to(dtype).save_pretrained(folder)
    write_tokenizer(folder, added)
    return folder


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("models with space + @ and ü")
    made = {
        "base": write_model(root / "base", 0),
        "a": write_model(root / "a", 1),
        "b": write_model(root / "b", 2),
        "xy": write_model(root / "xy", 3, ("<x>", "<y>")),
        "yz": write_model(root / "yz", 4, ("<y>", "<z>")),
        "padded": write_model(root / "padded", 5, ("<x>",), rows=64),
    }
    for seed, (name, added) in enumerate({"base": (), "a": (), "xy": ("<x>", "<y>")}.items()):
        half, tied = f"{name}-bf16", f"{name}-tied"
        made[half] = write_model(root / half, seed, added, dtype=torch.bfloat16)
        made[tied] = write_model(
            root / tied, seed, added, dtype=torch.bfloat16, tie_word_embeddings=True
        )
    return made


@pytest.fixture(scope="module")
def merger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    merger = worker(tmp_path_factory.mktemp("log") / "merge.log")
    merger.start()
    yield merger
    merger.close()


def recipe(method: str, parents: str, base: str, **fields: Any) -> Recipe:
    own = fields.pop("own", {})
    return Recipe(
        method=method,
        parents=tuple(Ingredient(model=name, parameters=own) for name in parents.split()),
        base=base,
        engine="mergekit",
        **fields,
    )


def slerp(parents: str, **fields: Any) -> Recipe:
    return recipe("slerp", parents, parents.split()[0], **{"parameters": {"t": 0.5}, **fields})


def merge(
    merger: Worker,
    made: Recipe,
    inputs: Mapping[str, Path],
    into: Path,
) -> Weights:
    into.mkdir()
    merger.run(operations.merge(made, MergeOptions(), inputs.__getitem__, into), no_progress)
    weights: Weights = load_file(into / "model.safetensors")
    assert EMBEDDING in weights
    return weights


def check(merger: Worker, made: Recipe) -> None:
    merger.run(operations.check(made, MergeOptions()), no_progress)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def works(folder: Path) -> None:
    """transformers loads the model and its tokenizer, and they fit."""
    model, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    assert model.get_input_embeddings().weight.shape[0] == model.config.vocab_size
    assert len(tokenizer) <= model.config.vocab_size
    with torch.no_grad():
        logits = model(torch.tensor([[1, 5, len(tokenizer) - 1]])).logits
    assert torch.isfinite(logits).all()
    assert logits.shape[-1] == model.config.vocab_size


def test_slerp_follows_its_formula_and_filters(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    gradient = [{"filter": "self_attn", "value": [0, 1]}, {"value": 1}]
    child = merge(merger, slerp("a b", parameters={"t": gradient}), inputs, tmp_path / "child")
    a, b = (load_file(inputs[name] / "model.safetensors") for name in "ab")
    for name, tensor in child.items():
        expected = a if ".0.self_attn" in name else b
        torch.testing.assert_close(tensor, expected[name])
    works(tmp_path / "child")


def test_linear_is_the_weighted_mean(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    child = merge(
        merger,
        Recipe(
            method="linear",
            parents=(
                Ingredient(model="a", parameters={"weight": 1}),
                Ingredient(model="b", parameters={"weight": 3}),
            ),
            base="a",
            engine="mergekit",
        ),
        inputs,
        tmp_path / "child",
    )
    a, b = (load_file(inputs[name] / "model.safetensors") for name in "ab")
    for name, tensor in child.items():
        torch.testing.assert_close(tensor, a[name] / 4 + b[name] * 3 / 4)


def test_task_vectors_are_taken_from_the_base_that_is_not_listed(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    made = recipe("task_arithmetic", "a b", "base", own={"weight": 0.6}, parameters={"lambda": 0.5})
    child = merge(merger, made, inputs, tmp_path / "child")
    a, b, base = (load_file(inputs[name] / "model.safetensors") for name in ("a", "b", "base"))
    for name, tensor in child.items():
        expected = base[name] + 0.3 * (a[name] - base[name]) + 0.3 * (b[name] - base[name])
        torch.testing.assert_close(tensor, expected)


def test_evomerge_s_own_rule_is_a_method_of_mergekit(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    """In float32 and bfloat16, over a union of vocabularies and tied embeddings, too."""
    made = recipe("wudi", "a b", "base", own={"weight": 0.8}, parameters={"epsilon": 30.0})
    check(merger, made)
    child = merge(merger, made, inputs, tmp_path / "child")
    a, b, base = (load_file(inputs[name] / "model.safetensors") for name in ("a", "b", "base"))
    for name, tensor in child.items():
        moved = merged_task_vector([a[name] - base[name], b[name] - base[name]], [0.8, 0.8], 30.0)
        torch.testing.assert_close(tensor, base[name] + moved)
    for kind in ("bf16", "tied"):
        parents, start = f"a-{kind} xy-{kind}", f"base-{kind}"
        other = recipe("wudi", parents, start, own={"weight": 1.0}, tokenizer="union")
        merge(merger, other, inputs, tmp_path / kind)
        works(tmp_path / kind)


def wudi_of(parents: str, base: str, weights: tuple[float, ...], **fields: Any) -> Recipe:
    made = recipe("wudi", parents, base, parameters={"epsilon": 0.3}, **fields)
    return weighed(made, *weights)


def from_vectors(
    merger: Worker, made: Recipe, inputs: Mapping[str, Path], into: Path, vectors: Path
) -> Weights:
    """The merge of `made` over its task vectors, which are made in `vectors` if missing."""
    if not vectors.exists():
        vectors.mkdir()
        merger.run(
            operations.disentangle(made, MergeOptions(), inputs.__getitem__, vectors), no_progress
        )
    return merge(merger, made, {**inputs, str(made.task_vectors): vectors}, into)


@pytest.mark.parametrize(
    ("parents", "base", "tokenizer"),
    [
        ("a b", "base", None),
        ("b a xy", "base", "union"),
        ("xy yz", "base", "union"),
        ("a-bf16 xy-bf16", "base-bf16", "union"),
        ("a-tied xy-tied", "base-tied", "union"),
        ("a-bf16 a-tied", "base-tied", None),
        ("a xy", "base", "base"),
        ("xy base a", "base", "xy"),
    ],
)
def test_weights_over_disentangled_task_vectors_give_what_wudi_gives(
    merger: Worker,
    inputs: Mapping[str, Path],
    tmp_path: Path,
    parents: str,
    base: str,
    tokenizer: str | None,
) -> None:
    """One set serves every weighting, in any order of the parents."""
    given = (0.0, 1.3, 0.7)[: len(parents.split())]
    for number, weights in enumerate((given, given[::-1], (-0.5, *given[1:]))):
        direct = wudi_of(parents, base, weights, tokenizer=tokenizer)
        order = direct.parents[:: -1 if number == 2 else 1]
        made = changed(direct, disentangled=True, parents=order)
        check(merger, made)
        expected = merge(merger, direct, inputs, tmp_path / f"direct-{number}")
        found = from_vectors(merger, made, inputs, tmp_path / f"child-{number}", tmp_path / "set")
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert tensor.dtype == expected[name].dtype
            exact = {"rtol": 1e-5, "atol": 1e-6}
            rounded = {"rtol": 2**-6, "atol": 2e-4}
            torch.testing.assert_close(
                tensor, expected[name], **(exact if tensor.dtype == torch.float32 else rounded)
            )
        names = {path.name for path in (tmp_path / f"direct-{number}").iterdir()}
        assert names == {path.name for path in (tmp_path / f"child-{number}").iterdir()}
        for name in names - {"recipe.yaml", "mergekit_config.yml", "model.safetensors"}:
            one, other = (tmp_path / f"{kind}-{number}" / name for kind in ("direct", "child"))
            assert one.read_text() == other.read_text(), name
        works(tmp_path / f"child-{number}")


@pytest.mark.parametrize("parents", ["a", "a a-again", "a base-again"])
def test_task_vectors_of_one_model_or_equal_ones(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path, parents: str
) -> None:
    known = {**inputs, "a-again": inputs["a"], "base-again": inputs["base"]}
    made = wudi_of(parents, "base", (1.0, 1.0)[: len(parents.split())], disentangled=True)
    child = from_vectors(merger, made, known, tmp_path / "child", tmp_path / "set")
    direct = merge(merger, changed(made, disentangled=False), known, tmp_path / "direct")
    for name, tensor in child.items():
        torch.testing.assert_close(tensor, direct[name])


def test_task_vectors_that_are_no_numbers_are_refused_by_name(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    broken = write_model(tmp_path / "broken", 1)
    weights = load_file(broken / "model.safetensors")
    weights[HEAD][3, 4] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    made = wudi_of("a broken", "base", (1.0, 1.0), disentangled=True)
    with pytest.raises(CandidateError, match=f"tensor {HEAD} .*NaN"):
        from_vectors(merger, made, {**inputs, "broken": broken}, tmp_path / "c", tmp_path / "set")


def test_the_folder_holds_what_a_model_needs_and_nothing_else(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    mask = os.umask(0o027)
    os.umask(mask)
    seen: list[tuple[int, int]] = []
    made = slerp("a b", dtype="bfloat16")
    into = tmp_path / "child"
    into.mkdir()
    operation = operations.merge(made, MergeOptions(), inputs.__getitem__, into)
    merger.run(operation, lambda done, total: seen.append((done, total)))
    assert sorted(path.name for path in into.iterdir()) == [
        "config.json",
        "generation_config.json",
        "mergekit_config.yml",
        "model.safetensors",
        "recipe.yaml",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert {path.stat().st_mode & 0o777 for path in into.iterdir()} == {0o666 & ~mask}
    assert json.loads((into / "config.json").read_bytes())["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in load_file(into / "model.safetensors").values()} == {
        torch.bfloat16
    }
    text = "".join(path.read_text("utf-8", errors="replace") for path in into.iterdir())
    assert str(tmp_path) not in text
    assert str(inputs["a"]) not in text
    assert f"id: {made.id}" in (into / "recipe.yaml").read_text()
    assert seen[-1][0] == seen[-1][1] > 20


@pytest.mark.parametrize("kind", ["", "-bf16", "-tied"])
@pytest.mark.parametrize("tokenizer", ["union", "base"])
@pytest.mark.parametrize("method", ["slerp", "linear", "ties", "dare_ties"])
@pytest.mark.parametrize("order", ["a xy", "xy a"])
def test_vocabularies_that_differ_are_merged(
    merger: Worker,
    inputs: Mapping[str, Path],
    tmp_path: Path,
    kind: str,
    tokenizer: str,
    method: str,
    order: str,
) -> None:
    parents = " ".join(name + kind for name in order.split())
    fields = {"tokenizer": tokenizer}
    first = parents.split()[0]
    made = {
        "slerp": lambda: slerp(parents, **fields),
        "linear": lambda: recipe("linear", parents, first, own={"weight": 0.5}, **fields),
        "ties": lambda: recipe("ties", parents, "base" + kind, own=HALVES, **fields),
        "dare_ties": lambda: recipe("dare_ties", parents, "base" + kind, own=HALVES, **fields),
    }[method]()
    child = merge(merger, made, inputs, tmp_path / "child")
    rows = 66 if tokenizer == "union" or made.base.startswith("xy") else 64
    config = json.loads((tmp_path / "child" / "config.json").read_bytes())
    assert config["vocab_size"] == child[EMBEDDING].shape[0] == rows
    assert (HEAD in child) == (kind != "-tied")
    if rows == 66:
        # What one model alone knows is taken over; SLERP scales it with the whole tensor, by
        # sin(t x) / sin(x) + sin((1 - t) x) / sin(x), which is near 1 for related models only.
        donor = load_file(inputs["xy" + kind] / "model.safetensors")[EMBEDDING][64:].double()
        rows_of_child = child[EMBEDDING][64:].double()
        scale = rows_of_child.norm() / donor.norm() if method == "slerp" else 1.0
        torch.testing.assert_close(rows_of_child, scale * donor, rtol=0.02, atol=1e-6)
    works(tmp_path / "child")


def test_a_union_keeps_every_token_once(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    made = recipe("ties", "xy yz", "base", own=HALVES, tokenizer="union")
    child = merge(merger, made, inputs, tmp_path / "child")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "child")
    assert [tokenizer.convert_ids_to_tokens(row) for row in (64, 65, 66)] == ["<x>", "<y>", "<z>"]
    assert child[EMBEDDING].shape[0] == 67
    xy, yz = (load_file(inputs[name] / "model.safetensors")[EMBEDDING] for name in ("xy", "yz"))
    torch.testing.assert_close(child[EMBEDDING][64], xy[64])
    torch.testing.assert_close(child[EMBEDDING][66], yz[65])


def test_equal_rows_with_other_tokens_are_aligned_by_a_union_only(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    union = merge(merger, slerp("xy yz", tokenizer="union"), inputs, tmp_path / "union")
    copied = merge(merger, slerp("xy yz"), inputs, tmp_path / "copied")
    assert union[EMBEDDING].shape[0] == 67
    assert copied[EMBEDDING].shape[0] == 66


def test_a_token_without_a_row_counts_as_unknown_to_its_model(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    child = merge(merger, slerp("xy padded", tokenizer="union"), inputs, tmp_path / "child")
    assert child[EMBEDDING].shape[0] == 66
    assert child[EMBEDDING][64:].abs().sum(dim=1).min() > 0


def test_a_tokenizer_can_come_from_a_further_model(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    child = merge(merger, slerp("a b", tokenizer="xy"), inputs, tmp_path / "child")
    assert child[EMBEDDING].shape[0] == 66
    assert torch.count_nonzero(child[EMBEDDING][64:]) == 0


def test_vocabularies_that_differ_cannot_be_copied(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CandidateError, match="size mismatch"):
        merge(merger, slerp("a xy"), inputs, tmp_path / "child")


DETERMINISTIC = {
    "slerp": slerp("a xy", tokenizer="union"),
    "dare_ties": recipe("dare_ties", "xy yz a", "base", own=HALVES, seed=5, tokenizer="union"),
    "dare_linear": recipe("dare_linear", "a b", "base", own=HALVES, seed=5),
    "della": recipe("della", "a b", "base", own={**HALVES, "epsilon": 0.1}, seed=5),
    "unseeded": recipe("dare_ties", "a b", "base", own=HALVES),
}


def test_the_same_recipe_gives_the_same_bytes(
    merger: Worker,
    inputs: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    """In a warm process and a fresh one, whatever the paths and the hash seed."""
    moved = tmp_path / "moved"
    moved.mkdir()
    elsewhere = {}
    for place, (name, folder) in enumerate(sorted(inputs.items(), reverse=True)):
        elsewhere[name] = moved / str(place)
        elsewhere[name].symlink_to(folder)
    fresh = worker(tmp_path / "log")
    fresh._environment["PYTHONHASHSEED"] = "4711"
    try:
        for name, made in DETERMINISTIC.items():
            for each, folders, kind in ((merger, inputs, "warm"), (fresh, elsewhere, "fresh")):
                merge(each, made, folders, tmp_path / f"{name}-{kind}")
            assert digests(tmp_path / f"{name}-warm") == digests(tmp_path / f"{name}-fresh")
    finally:
        fresh.close()


def test_the_seed_and_the_order_count(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    drawn = {
        name: merge(merger, made, inputs, tmp_path / name)["model.layers.0.mlp.up_proj.weight"]
        for name, made in {
            "one": recipe("dare_ties", "a b", "base", own=HALVES, seed=1),
            "two": recipe("dare_ties", "a b", "base", own=HALVES, seed=2),
            "turned": recipe("dare_ties", "b a", "base", own=HALVES, seed=1),
        }.items()
    }
    assert not torch.equal(drawn["one"], drawn["two"])
    assert not torch.equal(drawn["one"], drawn["turned"])


def test_a_folder_that_changed_under_its_path_is_read_again(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    changing = tmp_path / "changing"
    made = slerp("changing b", parameters={"t": 0.0})
    for source in ("a", "base"):
        if changing.is_symlink():
            changing.unlink()
        changing.symlink_to(inputs[source])
        folders = {**inputs, "changing": changing}
        child = merge(merger, made, folders, tmp_path / source)
        expected = load_file(inputs[source] / "model.safetensors")
        torch.testing.assert_close(child[EMBEDDING], expected[EMBEDDING])


def broken(inputs: Mapping[str, Path], folder: Path, name: str, value: float) -> Mapping[str, Path]:
    """The inputs with one weight of `b` replaced."""
    folder.mkdir()
    for path in inputs["b"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(inputs["b"] / "model.safetensors")
    weights[name][0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return {**inputs, "b": folder}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path, value: float
) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    spoiled = broken(inputs, tmp_path / "b", name, value)
    made = recipe("linear", "a b", "a", own={"weight": 0.5})
    with pytest.raises(CandidateError, match=rf"tensor {re.escape(name)} .* NaN or infinity"):
        merge(merger, made, spoiled, tmp_path / "child")
    assert not (tmp_path / "child" / ".inputs").exists()


def test_an_overflow_of_the_dtype_is_found(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    spoiled = broken(inputs, tmp_path / "b", "model.norm.weight", 1e30)
    with pytest.raises(CandidateError, match=r"model\.norm\.weight"):
        merge(merger, slerp("b a", dtype="float16"), spoiled, tmp_path / "child")


REFUSED = {
    "method": (recipe("slurp", "a b", "a"), "unknown mergekit merge method 'slurp'"),
    "fragment": (slerp("a b", fragment={"tokeniser": "union"}), "unknown mergekit key tokeniser"),
    "tokenizer": (slerp("a b", fragment={"tokenizer": {"sauce": "a"}}), "tokenizer.sauce"),
    "parameter": (slerp("a b", parameters={"t": 0.5, "tt": 1}), "no parameter 'tt'"),
    "own": (recipe("ties", "a b", "base", own={"wheight": 1}), "no parameter 'wheight'"),
    "density": (recipe("ties", "a b", "base", own={"density": 1.5}), "density 1.5"),
    "gradient": (
        recipe("ties", "a b", "base", own={"density": [{"filter": "x", "value": [0, -1]}]}),
        "density -1",
    ),
    "option": (slerp("a b", options={"allow_sins": True}), "unknown mergekit option allow_sins"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_mergekit_would_ignore_is_refused_before_any_merge(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path, what: str
) -> None:
    made, message = REFUSED[what]
    with pytest.raises(PreflightError, match=message):
        check(merger, made)
    with pytest.raises(PreflightError, match=message):
        merge(merger, made, inputs, tmp_path / "child")


def test_sound_recipes_pass_the_check(merger: Worker) -> None:
    for made in DETERMINISTIC.values():
        check(merger, made)
    fragment = {"merge_method": "sce", "out_dtype": "float16"}
    check(merger, recipe("mergekit", "a b", "base", fragment=fragment))


def test_a_raw_fragment_is_merged(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    fragment = {"merge_method": "nuslerp", "dtype": "float32", "out_dtype": "float16"}
    made = recipe("mergekit", "a b", "base", own={"weight": 0.5}, fragment=fragment)
    child = merge(merger, made, inputs, tmp_path / "child")
    assert {tensor.dtype for tensor in child.values()} == {torch.float16}


def test_a_chat_template_is_set(merger: Worker, inputs: Mapping[str, Path], tmp_path: Path) -> None:
    merge(merger, slerp("a b", chat_template="chatml"), inputs, tmp_path / "child")
    assert "im_start" in AutoTokenizer.from_pretrained(tmp_path / "child").chat_template


def test_weights_are_split_into_shards(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    into = tmp_path / "child"
    into.mkdir()
    small = MergeOptions(shard_size="4K", threads=2)
    merger.run(operations.merge(slerp("a b"), small, inputs.__getitem__, into), no_progress)
    assert len(list((tmp_path / "child").glob("model-*-of-*.safetensors"))) > 1
    works(tmp_path / "child")


def without(folder: Path, source: Path, *names: str) -> Path:
    folder.mkdir()
    for path in source.iterdir():
        if path.name not in names:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_lost_tokenizer_is_an_error(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    bare = without(tmp_path / "a", inputs["a"], "tokenizer.json", "tokenizer_config.json")
    with pytest.raises(CandidateError, match="no tokenizer; a has none"):
        merge(merger, slerp("a b"), {**inputs, "a": bare}, tmp_path / "child")


def test_pickled_weights_are_refused(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    bare = without(tmp_path / "a", inputs["a"], "model.safetensors")
    torch.save(load_file(inputs["a"] / "model.safetensors"), bare / "pytorch_model.bin")
    with pytest.raises(CandidateError, match="no safetensors weights") as caught:
        merge(merger, slerp("a b"), {**inputs, "a": bare}, tmp_path / "child")
    assert "allow_pickle" in (caught.value.remedy or "")


def test_a_folder_that_is_not_empty_is_refused(
    merger: Worker, inputs: Mapping[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    operation = operations.merge(slerp("a b"), MergeOptions(), inputs.__getitem__, tmp_path)
    with pytest.raises(CandidateError, match="not empty"):
        merger.run(operation, no_progress)
