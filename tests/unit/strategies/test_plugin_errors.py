"""An error in the code of another package is told as theirs, in one line."""

import json
import sys

import pytest

from evomerge.domain.errors import PluginError
from evomerge.strategies.greedy import Greedy
from evomerge.testing.landscape_run import landscape_config, run_landscape

CODE = """\
from evomerge.stopping import Criterion
from evomerge.strategies.greedy import Greedy


class Proposes(Greedy):
    name: str = ""

    def propose(self, state, kinship, rng):
        return [1 / 0]


class Pairs(Greedy):
    name: str = ""

    def pairs(self, state):
        raise KeyError("a name\\nin two lines")


class Nothing(Greedy):
    name: str = ""

    def propose(self, state, kinship, rng):
        return None


class Reaches(Criterion):
    def reached(self, state):
        return state.no_such_field


class Reads(Criterion):
    def reached(self, state):
        return None

    def pairs(self, state):
        return helper()


def helper():
    raise RuntimeError
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    return tmp_path / "broken_plugin.py"


@pytest.mark.parametrize(
    ("name", "line", "cause"),
    [
        ("Proposes", 9, "ZeroDivisionError: division by zero"),
        ("Pairs", 16, "KeyError: 'a name\\nin two lines'"),
        ("Nothing", None, "TypeError: 'NoneType' object is not iterable"),
        ("Reaches", 28, "AttributeError: 'RunState' object has no attribute 'no_such_field'"),
        ("Reads", 40, "RuntimeError"),
    ],
)
def test_the_line_names_class_file_and_line(module, tmp_path, name, line, cause):
    place = f"broken_plugin:{name}"
    strategy = name not in {"Reaches", "Reads"}
    changes = {"strategy": {"name": place}} if strategy else {"stopping": [place]}
    with pytest.raises(PluginError) as raised:
        run_landscape(tmp_path, landscape_config(**changes))
    where = f"{module}:{line}: " if line else ""
    assert raised.value.message == f"{where}{place} raised {cause}"
    log = tmp_path / "runs" / "landscape" / "logs" / "plugins.log"
    assert str(log) in raised.value.remedy
    assert cause.partition(":")[0] in log.read_text()
    assert raised.value.exit_code == 5
    environment = json.loads((tmp_path / "runs/landscape/environment.json").read_text())
    assert environment["versions"]["broken_plugin"].startswith("sha256 ")


def test_an_error_of_evomerges_own_strategies_is_a_bug(tmp_path, monkeypatch):
    monkeypatch.setattr(Greedy, "propose", lambda *_: 1 / 0)
    config = landscape_config(strategy={"name": "greedy"})
    with pytest.raises(ZeroDivisionError):
        run_landscape(tmp_path, config)
