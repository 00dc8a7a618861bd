"""Settings that work, and that hardly anybody wants."""

import pytest

from evomerge.config import EvaluationConfig
from evomerge.planning.advice import advice
from evomerge.testing.landscape_run import landscape_config

BUDGET, PATIENCE, POOL = (
    {"max_evaluations": 40},
    {"no_improvement": {"patience": 2}},
    {"pool_unchanged": True},
)


@pytest.mark.parametrize(
    ("strategy", "stopping", "warned"),
    [
        ("coefficient_search", [BUDGET], []),
        ("coefficient_search", [PATIENCE, BUDGET], ["no_improvement may"]),
        ("coefficient_search", [PATIENCE, POOL, BUDGET], ["no_improvement and pool_unchanged may"]),
        ("steady_state", [POOL], ["pool_unchanged may"]),
        ("kinship", [PATIENCE, POOL], []),
        ("seed_grid", [PATIENCE], []),
    ],
)
def test_patience_over_generations_of_one_child_is_warned_of(strategy, stopping, warned):
    config = landscape_config(strategy={"name": strategy, "k": 3}, stopping=stopping)
    found = [each for each in advice(config) if each.subject == "stopping"]
    assert [each.severity for each in found] == ["warning"] * len(warned)
    for each, text in zip(found, warned, strict=True):
        assert text in each.message
        assert "max_evaluations" in each.remedy


@pytest.mark.parametrize(
    ("strategy", "method", "warned"),
    [
        ("seed_grid", "ties", 1),
        ("coefficient_search", "dare_ties", 1),
        ("coefficient_search", "wudi", 0),
        ("kinship", "ties", 0),
    ],
)
def test_sums_of_whole_task_vectors_are_warned_of(strategy, method, warned):
    config = landscape_config(
        strategy={"name": strategy}, merge={"method": method}, stopping=[BUDGET]
    )
    found = list(advice(config))
    assert ["merge.method: wudi" in (each.remedy or "") for each in found] == [True] * warned


@pytest.mark.parametrize(
    ("backend", "batch", "warned"), [("vllm", 8, 1), ("vllm", 512, 0), ("hf", 8, 0)]
)
def test_small_batches_are_handed_to_vllm(backend, batch, warned):
    config = landscape_config(strategy={"name": "seed_grid", "k": 3}, stopping=[BUDGET])
    asked = {"tasks": [{"name": "t"}], "backend": backend, "batch_size": batch}
    evaluation = EvaluationConfig.model_validate(asked)
    everything = advice(config.model_copy(update={"evaluation": evaluation}))
    found = [each for each in everything if each.subject == "batch size"]
    assert ["batch_size: 512" in (each.remedy or "") for each in found] == [True] * warned
