"""RegMean++ over real models: layer by layer as transformers runs them, and what children keep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from evomerge.adapters import mergekit
from evomerge.adapters.layers import Layers
from evomerge.adapters.lm_eval import worker as lm_eval
from evomerge.config import EvaluationConfig, MergeOptions
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.domain.recipe import Ingredient, Recipe
from evomerge.domain.state import fold
from evomerge.execution import operations
from evomerge.execution.pool import Pool
from evomerge.store.run_directory import RunDirectory
from tests.integration.conftest import small_run
from tests.integration.test_families import FAMILIES, SIZES

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3": ("Phi3", {}),
    "olmo2": ("Olmo2", {}),
    "neox": ("GPTNeoX", {}),
    "granite": ("Granite", {}),
}
SKILLS = ("reverse", "sort")
ITEMS = 30


def ignore(done: int, total: int, host: str) -> None:
    assert 0 <= done <= total


def saved(folder: Path, kind: str, **options: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """A random model, and its tensors as they are in its file."""
    config = getattr(transformers, f"{kind}Config")(**SIZES, **{**options, "dtype": "float32"})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    return model, load_file(folder / "model.safetensors")


def test_weights_that_transformers_converts_are_refused_with_a_way_out(tmp_path: Path) -> None:
    _, files = saved(tmp_path, "Qwen3Moe", num_experts=4, moe_intermediate_size=16)
    with pytest.raises(CandidateError, match="cannot be run layer by layer") as refused:
        Layers(tmp_path, list(files), trust=False, device=torch.device("cpu"))
    assert "wudi" in str(refused.value.remedy)


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS])
def test_layer_by_layer_a_model_does_what_it_does_as_a_whole(name: str, tmp_path: Path) -> None:
    kind, options = {**FAMILIES, **OTHERS}[name]
    model, files = saved(tmp_path, kind, **options)
    layers = Layers(tmp_path, list(files), trust=False, device=torch.device("cpu"))
    tokens = torch.randint(3, 60, (2, 40))
    outer = {key: files[each] for key, each in layers.outer.items()}
    with torch.no_grad():
        expected = model(tokens, output_hidden_states=True).hidden_states[-1]
        texts = layers.started(outer, tokens)
        for number, names in enumerate(layers.of_layer):
            weights = {key: files[each] for key, each in names.items()}
            groups = layers.groups(number, weights, texts)
            linears = {
                each
                for each, module in layers._layers[number].named_modules()
                if isinstance(module, torch.nn.Linear)
            }
            assert {each for group in groups for each in group} == linears
            texts = type(texts)(texts.tokens, texts.calls, layers.run(number, weights, texts))
        found = layers.finished(outer, texts)
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    log = tmp_path_factory.mktemp("logs") / "child.log"
    pool = Pool([mergekit.worker(log), lm_eval.worker("hf", "cpu", log)])
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def evaluation(tiny: Path) -> EvaluationConfig:
    return EvaluationConfig.model_validate(
        {
            "tasks": [
                {"name": f"tiny_{each}", "metric": "exact_match", "limit": 4 * ITEMS}
                for each in SKILLS
            ],
            "split": {"held_out": 0.5, "calibration": ITEMS},
            "include": [tiny / "tasks"],
            "dtype": "float32",
            "batch_size": 64,
        }
    )


@pytest.fixture(scope="module")
def calibration(
    tiny: Path,
    workers: Pool,
    evaluation: EvaluationConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    into = tmp_path_factory.mktemp("calibration")
    base = tiny / "models" / "base"
    told = workers.run(operations.describe(evaluation, MergeOptions()))
    answer = workers.run(operations.calibrate(evaluation, MergeOptions(), None, base, into))
    assert answer == {"calibration": told["calibration"]}
    return into


@pytest.fixture(scope="module")
def folders(tiny: Path, calibration: Path) -> dict[str, Path]:
    models = {each: tiny / "models" / each for each in ("base", *SKILLS)}
    return {**models, "calibration": calibration}


def recipe(*weights: float, **fields: Any) -> Recipe:
    parents = tuple(
        Ingredient(model=each, parameters={"weight": weight, "tasks": [f"tiny_{each}"]})
        for each, weight in zip(SKILLS, weights, strict=True)
    )
    given = {"parents": parents, "parameters": {"ridge": 1e-3}, **fields}
    return Recipe(
        method="regmean_pp",
        base="base",
        disentangled=True,
        calibration="calibration",
        engine=mergekit.engine(),
        **given,
    )


def disentangled(workers: Pool, made: Recipe, folders: Mapping[str, Path], into: Path) -> Path:
    into.mkdir()
    folder = folders.__getitem__
    workers.run(operations.disentangle(made, MergeOptions(), folder, into), ignore)
    return into


@pytest.fixture(scope="module")
def vectors(
    workers: Pool, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    into = tmp_path_factory.mktemp("vectors") / "made"
    return disentangled(workers, recipe(1.0, 1.0), folders, into)


def merged(
    workers: Pool, made: Recipe, folders: Mapping[str, Path], vectors: Path, into: Path
) -> Path:
    places = {**folders, str(made.task_vectors): vectors}
    workers.run(operations.merge(made, MergeOptions(), places.__getitem__, into), ignore)
    return into


def scores(workers: Pool, evaluation: EvaluationConfig, model: Path, into: Path) -> list[float]:
    into.mkdir()
    asked = operations.score(evaluation, MergeOptions(), "held_out", model, into)
    return [task["value"] for task in workers.run(asked, ignore)["tasks"]]


def test_a_child_of_two_specialists_keeps_both_skills(
    workers: Pool,
    folders: dict[str, Path],
    evaluation: EvaluationConfig,
    vectors: Path,
    tmp_path: Path,
) -> None:
    child = merged(workers, recipe(1.0, 1.0), folders, vectors, tmp_path / "child")
    kept = scores(workers, evaluation, child, tmp_path / "scores")
    alone = [
        scores(workers, evaluation, folders[each], tmp_path / each)[place]
        for place, each in enumerate(SKILLS)
    ]
    assert min(alone) > 80
    assert all(mine > 0.9 * own for mine, own in zip(kept, alone, strict=True))


def test_a_child_is_linear_in_the_weights(
    workers: Pool, folders: dict[str, Path], vectors: Path, tmp_path: Path
) -> None:
    base = load_file(folders["base"] / "model.safetensors")
    each = [load_file(vectors / name / "model.safetensors") for name in SKILLS]
    child = merged(workers, recipe(0.5, 1.2), folders, vectors, tmp_path / "child")
    found = load_file(child / "model.safetensors")
    assert set(found) == set(base)
    for key, start in base.items():
        expected = start + 0.5 * each[0][key] + 1.2 * each[1][key]
        torch.testing.assert_close(found[key], expected, atol=1e-6, rtol=1e-5)


def test_made_again_in_another_order_it_has_the_same_bytes(
    folders: dict[str, Path], vectors: Path, tmp_path: Path
) -> None:
    turned = recipe(1.0, 1.0, parents=recipe(0.3, 2.0).parents[::-1])
    with closing(Pool([mergekit.worker(tmp_path / "log")])) as pool:
        again = disentangled(pool, turned, folders, tmp_path / "again")
    for name in SKILLS:
        made, first = (place / name / "model.safetensors" for place in (again, vectors))
        assert made.read_bytes() == first.read_bytes()


def test_a_calibration_has_no_item_that_is_scored(
    tiny: Path, calibration: Path, evaluation: EvaluationConfig, workers: Pool, tmp_path: Path
) -> None:
    lines = (calibration / "items.jsonl").read_text(encoding="utf-8").splitlines()
    learnt = [json.loads(line) for line in lines]
    assert [each["task"] for each in learnt] == [f"tiny_{s}" for s in SKILLS for _ in range(ITEMS)]
    seen = {each["text"] for each in learnt}
    everything = set()
    for split, count in (("selection", ITEMS), ("held_out", 2 * ITEMS)):
        into = tmp_path / split
        into.mkdir()
        model = tiny / "models" / "base"
        workers.run(operations.score(evaluation, MergeOptions(), split, model, into), ignore)
        logs = [
            [json.loads(line)["doc"] for line in file.read_text().splitlines()]
            for file in sorted(into.glob("samples_*.jsonl"))
        ]
        assert [len(log) for log in logs] == [count, count]
        everything |= {doc["prompt"] + doc["answer"] for log in logs for doc in log}
    assert not seen & everything


def changed(folder: Path, source: Path, change: Any) -> Path:
    """A copy of a model with changed tensors."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_odd_parents_give_a_child_or_one_line(
    workers: Pool, folders: dict[str, Path], tmp_path: Path
) -> None:
    key = "model.layers.1.mlp.down_proj.weight"

    def made(name: str, **others: Path) -> Path:
        return disentangled(workers, recipe(1.0, 1.0), {**folders, **others}, tmp_path / name)

    same = made("same", reverse=folders["base"], sort=folders["base"])
    for name in SKILLS:
        for tensor in load_file(same / name / "model.safetensors").values():
            assert not tensor.any(), "two copies of the base add nothing"
    spoilt = changed(tmp_path / "nan", folders["sort"], lambda t: t[key].fill_(float("nan")))
    with pytest.raises(CandidateError, match="NaN"):
        made("spoilt", sort=spoilt)
    lacking = changed(tmp_path / "lacking", folders["sort"], lambda t: t.pop(key))
    with pytest.raises(CandidateError, match=key):
        made("without", sort=lacking)
    with pytest.raises(PreflightError, match="vocabulary"):
        workers.run(operations.check(recipe(1.0, 1.0, tokenizer="union"), MergeOptions()), ignore)


def test_the_base_answers_for_tasks_and_the_anchor(
    workers: Pool, folders: dict[str, Path], calibration: Path, vectors: Path, tmp_path: Path
) -> None:
    anchored = tmp_path / "anchored"
    anchored.mkdir()
    (anchored / "items.jsonl").write_bytes((calibration / "items.jsonl").read_bytes())
    (anchored / "anchor.txt").write_text("plain text 123 = 321" * 20)
    places = {**folders, "calibration": anchored}
    with_anchor = disentangled(workers, recipe(1.0, 1.0), places, tmp_path / "vectors")
    first, second = (
        load_file(place / "sort" / "model.safetensors") for place in (vectors, with_anchor)
    )
    key = "model.layers.1.mlp.down_proj.weight"
    assert not torch.equal(first[key], second[key])
    parents = (
        Ingredient(model="sort", parameters={"weight": 1.0, "tasks": ["tiny_sort"]}),
        Ingredient(model="base", parameters={"weight": 1.0, "tasks": ["tiny_reverse"]}),
    )
    alone = disentangled(workers, recipe(1.0, 1.0, parents=parents), folders, tmp_path / "alone")
    assert [each.name for each in alone.iterdir() if each.is_dir()] == ["sort"]


def test_a_run_says_what_its_merges_learnt_from_and_makes_them_again(
    tiny: Path, evomerge: Any, tmp_path: Path
) -> None:
    words = small_run(
        tmp_path,
        tiny,
        "strategy={name: greedy, k: 2}",
        "merge={method: regmean_pp}",
        "evaluation.split={held_out: 0.5, calibration: 4}",
        "stopping=[max_evaluations: 5]",
    )
    done = evomerge(*words)
    assert done.returncode == 0, done.stderr
    learnt = "learnt from 4 items of each task with their answers and a plain text"
    assert learnt in done.stdout
    run = tmp_path / "tiny-evolution"
    state = fold(RunDirectory(run).read())
    started = state.start
    assert started.calibration is not None
    (folder,) = (tmp_path / "store" / "calibration").iterdir()
    assert folder.name == started.calibration.content_id
    assert (folder / "anchor.txt").read_text(encoding="utf-8").startswith("The ferry")
    child = next(model for model in state.models.values() if model.candidate and model.scores)
    made = child.candidate.recipe
    assert made.calibration == folder.name
    parents = zip(child.parents, made.parents, strict=True)
    assert all(f"tiny_{name}" in each.parameters["tasks"] for name, each in parents)
    shown = evomerge("show", run.name, child.name, "--dir", tmp_path).stdout
    assert '"tasks":[' in shown
    assert "sum_of_task_vectors" in shown
    freed = json.loads(evomerge("gc", "--yes", "--json", "--dir", tmp_path).stdout)
    assert not any("calibration" in each["name"] for each in freed["artefacts"])
    exported = evomerge("export", run.name, child.name, "--to", tmp_path / "out", "--dir", tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert learnt in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    weights = tmp_path / "store" / "models" / child.content_id / "model.safetensors"
    before = weights.read_bytes() if weights.exists() else None
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "store" / "task_vectors")
    shutil.rmtree(weights.parent)
    again = evomerge("rebuild", run.name, child.name, "--dir", tmp_path)
    assert again.returncode == 0, again.stderr
    assert before is None or weights.read_bytes() == before
