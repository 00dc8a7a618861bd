"""What the sweeps share: warm drivers, the scenarios, and how to sample."""

from dataclasses import replace

import pytest

from evomerge.testing.crash.drivers import Drivers
from evomerge.testing.crash.invariants import Scenario, baseline
from evomerge.testing.crash.sweep import PRUNING, prepare


@pytest.fixture(scope="session")
def drivers():
    with Drivers() as running:
        yield running


@pytest.fixture(scope="session")
def scenarios(drivers, tmp_path_factory):
    """A whole run, one that prunes, and one that a killed driver left in the middle."""
    folder = tmp_path_factory.mktemp("scenarios")
    pruning = Scenario(PRUNING, baseline(drivers, folder / "pruning", *PRUNING))
    return {
        "whole": Scenario(digest=baseline(drivers, folder / "whole")),
        "pruning": pruning,
        "resumed": replace(pruning, prepared=prepare(drivers, folder)),
    }
