"""What all tests share: temporary files in memory, the tiny models, the command line."""

import contextlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from evomerge.cli import main

ROOT = Path(__file__).parents[1]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

# Before numpy is imported: on matrices as small as these, threads that wait for each other cost
# three times the work. The child processes of the tests inherit it.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

# How long an example takes says how busy the machine is, not whether a law holds. More examples:
# pytest --hypothesis-profile thorough
settings.register_profile(
    "laws", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("laws"), max_examples=1000)
settings.load_profile("laws")

# Durable writes are synced; on a disk that costs minutes, in memory nothing. The syncs that matter
# are checked by order (tests/crash), not by pulling a plug.
_MEMORY = Path("/dev/shm")
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


def command(*arguments: object) -> Outcome:
    """Run the command line in this process; whatever it does not handle is raised here."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["evomerge", *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as exited:
        code = exited.code or 0
    finally:
        sys.argv = before
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The folder of the quickstart's models and tasks, made once and kept below runs/tiny."""
    script = ROOT / "scripts" / "make_tiny_models.py"
    spec = importlib.util.spec_from_file_location("make_tiny_models", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.make(ROOT / "runs" / "tiny")


@pytest.fixture(scope="session")
def landscape_world(tmp_path_factory):
    """Models of the landscape, for the contract suites of workers."""
    from evomerge.config import EvaluationConfig
    from evomerge.domain.recipe import Ingredient, Recipe
    from evomerge.testing.contracts import World
    from evomerge.testing.landscape import make_base, make_foundation, read_vector

    root = tmp_path_factory.mktemp("world")
    base = make_base(root / "base")
    models = [make_foundation(root / name, name, seed) for seed, name in enumerate("abc")]
    folders = {model.content_id: root / model.name for model in models}
    (root / "broken").mkdir()
    parents = list(folders)[:2]
    return World(
        base=base.content_id,
        folders={**folders, base.content_id: root / "base"},
        recipe=Recipe(
            method="dare_ties",
            parents=tuple(Ingredient(model=name) for name in parents),
            base=base.content_id,
            seed=5,
            engine="landscape 1",
        ),
        evaluation=EvaluationConfig.model_validate({"tasks": ["landscape"]}),
        summed=Recipe(
            method="wudi",
            parents=tuple(Ingredient(model=each, parameters={"weight": 1.0}) for each in parents),
            base=base.content_id,
            disentangled=True,
            engine="landscape 1",
        ),
        broken=root / "broken",
        values=read_vector,
    )


@pytest.fixture(scope="session")
def evomerge():
    """Run the command line as a user does, from the repository: (arguments) -> process."""

    def run(*arguments, **options):
        return subprocess.run(
            [sys.executable, "-m", "evomerge", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **OFFLINE, **options.pop("env", {})},
            capture_output=True,
            text=True,
            **options,
        )

    return run
