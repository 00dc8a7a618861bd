"""Our own strategies and stopping criteria pass the suites that plug-ins are tested with."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from evomerge import strategies
from evomerge.config.choices import AnyCriterion, AnyStrategy
from evomerge.stopping import CRITERIA
from evomerge.strategies import STRATEGIES
from evomerge.testing.contracts import CriterionContract, StrategyContract

OPTIONS = [
    {"name": "kinship", "exploration": {"candidates": "repository", "prefer": "highest"}},
    {"name": "kinship", "pool": "elites"},
    {"name": "coefficient_search", "search": {"algorithm": "random", "children": 3}},
]
STRATEGIES_TRIED = TypeAdapter(list[AnyStrategy]).validate_python(
    [*({"name": name} for name in STRATEGIES.own), *OPTIONS]
)
CRITERIA_TRIED = TypeAdapter(list[AnyCriterion]).validate_python(
    [
        "pool_unchanged",
        {"no_improvement": {"patience": 1, "min_delta": 1.0}},
        {"kinship_saturation": {"threshold": 0.3}},
        {"max_generations": 2},
        {"max_evaluations": 12},
        {"max_hours": 1.0},
        {"max_cost": {"price_per_gpu_hour": 2.0, "limit": 5.0}},
    ]
)


class TestStrategies(StrategyContract):
    @pytest.fixture(params=STRATEGIES_TRIED, ids=str)
    def strategy(self, request):
        return request.param


class TestCriteria(CriterionContract):
    @pytest.fixture(params=CRITERIA_TRIED, ids=lambda criterion: criterion.name)
    def criterion(self, request):
        return request.param


class TestTheExampleOfTheReadme(StrategyContract):
    @pytest.fixture
    def strategy(self):
        page = Path(strategies.__file__).with_name("README.md").read_text(encoding="utf-8")
        names = {"__name__": "readme"}
        exec(page.split("```python\n")[1].split("```")[0], names)
        return names["Champion"](partners=3)


def test_every_criterion_is_tried():
    assert {criterion.name for criterion in CRITERIA_TRIED} == set(CRITERIA.own)
