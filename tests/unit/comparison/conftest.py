"""Landscape runs of several strategies and seeds, made once."""

import pytest

from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import landscape_config, run_landscape


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
            run_landscape(root, config)
    return root / "runs"


@pytest.fixture(scope="session")
def journals(landscape):
    """The entries of every run, by its name."""
    names = ("greedy-1", "greedy-2", "kinship-1", "kinship-2")
    return {name: RunDirectory(landscape / name).read() for name in names}
