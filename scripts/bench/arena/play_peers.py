"""Run the peers' searches on the arena's fixtures, in their own environments.

    scripts/bench/arena/peers/setup ENVIRONMENTS
    python scripts/bench/arena/play_peers.py [--fixtures N,…] [--peers NAME,…] OUT_DIR ENVIRONMENTS

Finished searches are kept; an interrupted one starts over, since the peers cannot resume.
`python scripts/bench/arena --report OUT_DIR` then includes them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))
import make_tiny_models as tiny
from arms import MARKS
from fixtures import HELD_OUT, Fixture
from judge import END, FOLDER, Search

from evomerge.adapters.lm_eval.split import held_out_items

METHODS = ("task_arithmetic", "ties", "dare_ties")
RUNNERS = {"mergekit-evolve": "mergekit_evolve.py", "mergenetic": "mergenetic_search.py"}
PEERS: dict[str, tuple[str, Mapping[str, Any]]] = {
    **{
        f"mergekit-evolve-{method}": ("mergekit-evolve", {"merge_method": method})
        for method in METHODS
    },
    **{
        f"mergekit-evolve-{method}-sum": (
            "mergekit-evolve",
            {"merge_method": method, "normalize": False},
        )
        for method in ("ties", "dare_ties")
    },
    **{
        f"mergenetic-{algorithm}-{method}": (
            "mergenetic",
            {"algorithm": algorithm, "merge_method": method},
        )
        for algorithm in ("ga", "cma")
        for method in METHODS
    },
}
"""Environment and settings of every peer, by name."""


def play(peer: str, fixture: Fixture, environments: Path, evaluations: int) -> Search:
    """Run a peer's search unless it is finished with at least as many evaluations."""
    folder = fixture.folder / FOLDER / peer
    asked = folder / "search.json"
    ended = (folder / END).exists() and json.loads(asked.read_text(encoding="utf-8"))
    if not ended or ended["evaluations"] < evaluations:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        environment, settings = PEERS[peer]
        _write(asked, _told(fixture, settings, evaluations))
        end = _run(environments / environment, RUNNERS[environment], folder)
        _write(folder / END, end)
    return Search(folder)


def _told(fixture: Fixture, settings: Mapping[str, Any], evaluations: int) -> dict[str, Any]:
    models, tasks = fixture.models, dev_tasks(fixture)
    items = (tasks / f"{tiny.task_name(next(iter(tiny.SKILLS)))}.jsonl").read_text(encoding="utf-8")
    return {
        "base": str(models / tiny.BASE),
        "models": [str(models / skill) for skill in tiny.SKILLS],
        "tasks_folder": str(tasks),
        "tasks": [
            {"name": tiny.task_name(skill), "metric": tiny.metric_name(skill)}
            for skill in tiny.SKILLS
        ],
        "items": len(items.splitlines()),
        "batch_size": 256,
        "evaluations": evaluations,
        "seed": fixture.number,
        "settings": settings,
    }


def dev_tasks(fixture: Fixture) -> Path:
    """The fixture's tasks with the selection items only."""
    source, made = fixture.tasks, fixture.folder / FOLDER / "tasks"
    made.mkdir(parents=True, exist_ok=True)
    share = HELD_OUT / (HELD_OUT + fixture.items)
    for skill in tiny.SKILLS:
        name = tiny.task_name(skill)
        task = yaml.safe_load((source / f"{name}.yaml").read_text(encoding="utf-8"))
        lines = (source / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        labels = [json.dumps(json.loads(line)[task["doc_to_target"]]) for line in lines]
        hidden = set(held_out_items(labels, share, 0, name))
        items = made / f"{name}.jsonl"
        seen = [line for place, line in enumerate(lines) if place not in hidden]
        items.write_text("\n".join([*seen, ""]), encoding="utf-8")
        task["dataset_kwargs"] = {"data_files": {"test": str(items)}}
        (made / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    return made


def _run(environment: Path, runner: str, folder: Path) -> dict[str, Any]:
    """Run a search to its end; returns its exit status, time and fault."""
    scripts = Path(__file__).parent / FOLDER
    python = environment / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"no {python}: run scripts/bench/arena/peers/setup first")
    variables = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PYTHONPATH": str(scripts),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }
    started = time.monotonic()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [python, scripts / runner, folder / "search.json"],
            stdout=log, stderr=subprocess.STDOUT, env=variables, cwd=folder, check=False,
        )  # fmt: skip
    said = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip()
    fault = said.splitlines()[-1] if done.returncode and said else None
    return {
        "exit": done.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "fault": fault,
    }


def _write(path: Path, told: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="of the arena")
    parser.add_argument("environments", type=Path, metavar="ENVIRONMENTS")
    parser.add_argument("--fixtures", default="0,1", metavar="N,…", help="made by the arena")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="NAME,…")
    parser.add_argument("--evaluations", type=int, default=MARKS[-1], metavar="N")
    options = parser.parse_args()
    peers = options.peers.split(",")
    if unknown := [name for name in peers if name not in PEERS]:
        parser.error(f"--peers: {unknown[0]!r} is none of {', '.join(PEERS)}")
    for number in options.fixtures.split(","):
        fixture = Fixture(int(number), options.out.resolve())
        for peer in peers:
            search = play(peer, fixture, options.environments.resolve(), options.evaluations)
            fault = search.end["fault"]
            said = f"{fixture.title}: {peer}: {len(search.children)} children"
            print(said + (f", then {fault}" if fault else ""), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
