"""Landscape runs of several strategies and seeds, made once."""

import pytest

from evomerge.driver import drive
from evomerge.evolution import untested
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import LandscapeWorkplace, Silence, landscape_config


@pytest.fixture(scope="session")
def landscape(tmp_path_factory):
    """The runs folder of greedy and kinship runs with the seeds 1 and 2, over one store."""
    root = tmp_path_factory.mktemp("landscape")
    for strategy in ("greedy", "kinship"):
        for seed in (1, 2):
            name = f"{strategy}-{seed}"
            config = landscape_config(
                run={"name": name, "seed": seed}, strategy={"name": strategy, "k": 3}
            )
            run = RunDirectory(root / "runs" / name)
            workplace = LandscapeWorkplace(root)
            drive(run, config, workplace, [Silence()], test_gains=untested)
    return root / "runs"


@pytest.fixture(scope="session")
def journals(landscape):
    """The entries of every run, by its name."""
    names = ("greedy-1", "greedy-2", "kinship-1", "kinship-2")
    return {name: RunDirectory(landscape / name).read() for name in names}
