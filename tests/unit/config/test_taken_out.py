"""Settings of earlier versions: passed over at their former default, else refused."""

import pytest

from evomerge.configfile import config_id, parse
from evomerge.domain.errors import ConfigError


@pytest.fixture
def searching(good):
    return good.replace("name: kinship", "name: coefficient_search")


def test_a_removed_key_at_its_former_default_is_passed_over(searching):
    old = searching.replace(
        "  k: 3\n", "  k: 3\n  search: {algorithm: bayes, children: 1, step: 0.2}\n"
    )
    assert old != searching
    assert config_id(parse(old, "x")) == config_id(parse(searching, "x"))


@pytest.mark.parametrize(
    ("setting", "key"),
    [("algorithm: es", "algorithm"), ("algorithm: cma", "algorithm"), ("step: 0.3", "step")],
)
def test_what_is_gone_is_refused_with_when_and_why(searching, setting, key):
    asked = searching.replace("  k: 3\n", f"  k: 3\n  search:\n    {setting}\n")
    line = asked[: asked.index(setting)].count("\n") + 1
    with pytest.raises(ConfigError) as refused:
        parse(asked, "x.yaml")
    (problem,) = refused.value.problems
    assert str(problem).startswith(f"x.yaml:{line}: strategy.search.{key}: ")
    assert "taken out in 0.1.0: bayes is ahead of them" in str(problem)


def test_an_override_may_ask_for_what_is_gone_no_more_than_the_file(good):
    with pytest.raises(ConfigError, match=r"--set strategy.search.algorithm=es: .*0.1.0"):
        parse(good, "x.yaml", ["strategy.search.algorithm=es"])
