"""What the tests that start evomerge as a process share: a small run, made once."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
NAME = "tiny-evolution"
CANARY = "canary-0123456789-canary"
TOKENS = {"HF_TOKEN": CANARY, "HUGGING_FACE_HUB_TOKEN": CANARY, "OPENAI_API_KEY": CANARY}


def small_run(runs: Path, tiny: Path, *further: str) -> list[str]:
    """The words that run three specialists for two generations below `runs`."""
    models = tiny / "models"
    settings = [
        f"run.dir={runs}",
        f"base_model={models}/base",
        f"foundation_models=[{models}/reverse, {models}/sort, {models}/increment]",
        f"evaluation.include=[{tiny / 'tasks'}]",
        "strategy.k=2",
        "stopping=[max_generations: 2]",
        "retention=best",
        "execution.report=false",
        *(f"evaluation.tasks.{number}.limit=20" for number in range(5)),
        *further,
    ]
    words = ["run", str(ROOT / "configs/tiny.yaml")]
    return [*words, *(word for each in settings for word in ("--set", each))]


@pytest.fixture(scope="session")
def finished(tiny, evomerge, tmp_path_factory, worker_id) -> tuple[Path, str]:
    """The runs folder of a finished small run, never to be changed, and what it printed.

    It is made once for all workers of the session.
    """
    base = tmp_path_factory.getbasetemp()
    place = (base if worker_id == "master" else base.parent) / "finished"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "output").exists():
            done = evomerge(*small_run(place / "runs", tiny), env=TOKENS)
            assert done.returncode == 0, done.stderr
            (place / "output").write_text(done.stdout + done.stderr)
    return place / "runs", (place / "output").read_text()
