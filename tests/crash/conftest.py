"""What the sweeps share: warm drivers, the scenarios, and how to sample."""

import pytest
from laboratory.drivers import Drivers
from laboratory.sweep import all_scenarios


@pytest.fixture(scope="session")
def drivers():
    with Drivers() as running:
        yield running


@pytest.fixture(scope="session")
def scenarios(drivers, tmp_path_factory):
    return all_scenarios(drivers, tmp_path_factory.mktemp("scenarios"))
