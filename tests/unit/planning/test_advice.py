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
        ("portfolio", [BUDGET], []),
        ("portfolio", [PATIENCE, BUDGET], ["no_improvement may"]),
        ("coefficient_search", [PATIENCE, POOL, BUDGET], ["no_improvement and pool_unchanged may"]),
        ("steady_state", [POOL], ["pool_unchanged may"]),
        ("kinship", [PATIENCE, POOL], []),
        ("seed_grid", [PATIENCE], []),
    ],
)
def test_patience_over_generations_of_one_child_is_warned_of(strategy, stopping, warned):
    config = landscape_config(strategy={"name": strategy, "k": 3}, stopping=stopping)
    found = list(advice(config))
    assert [each.severity for each in found] == ["warning"] * len(warned)
    for each, text in zip(found, warned, strict=True):
        assert text in each.message
        assert "max_evaluations" in each.remedy


@pytest.mark.parametrize(
    ("backend", "batch", "warned"), [("vllm", 8, 1), ("vllm", 512, 0), ("hf", 8, 0)]
)
def test_small_batches_are_handed_to_vllm(backend, batch, warned):
    config = landscape_config(strategy={"name": "seed_grid", "k": 3}, stopping=[BUDGET])
    asked = {"tasks": [{"name": "t"}], "backend": backend, "batch_size": batch}
    evaluation = EvaluationConfig.model_validate(asked)
    found = list(advice(config.model_copy(update={"evaluation": evaluation})))
    assert ["batch_size: 512" in (each.remedy or "") for each in found] == [True] * warned
