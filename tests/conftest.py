"""What all tests share: temporary files in memory, the tiny models, the command line."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

# How long an example takes says how busy the machine is, not whether a law holds.
settings.register_profile("laws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laws")

# Durable writes are synced; on a disk that costs minutes, in memory nothing. The syncs that matter
# are checked by order (tests/crash), not by pulling a plug.
_MEMORY = Path("/dev/shm")
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


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
