"""What the pages of two large runs cost: the report of one and the comparison of both.

    python scripts/bench/pages.py [--models 745] [--rounds 2] [--folder DIR]

The runs are those of `scale.py`, by kinship and greedy. Earlier versions measured every pair of a
run in every generation, and their journals hold them all: the second row is of such journals.
Printed are CPU seconds of the whole command, the least of all rounds, and megabytes of the journal.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from scale import LuckyWorkplace, settings

from evomerge.domain.kinship import Pair, all_pairs
from evomerge.domain.state import RunState
from evomerge.driver import drive
from evomerge.evolution import untested
from evomerge.store.run_directory import RunDirectory
from evomerge.strategies.greedy import Greedy
from evomerge.strategies.kinship import KinshipGuided

_STRATEGIES = ("kinship", "greedy")
_K = 30


def _every_pair(state: RunState) -> tuple[Pair, ...]:
    return tuple(all_pairs([model.name for model in state.ranking]))


class _Kinship(KinshipGuided):
    """Has every pair measured, as earlier versions did."""

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """All of them."""
        return _every_pair(state)


class _Greedy(Greedy):
    """Has every pair measured, as earlier versions did."""

    def pairs(self, state: RunState) -> tuple[Pair, ...]:
        """All of them."""
        return _every_pair(state)


def make_runs(runs: Path, models: int, every_pair: bool) -> float:
    """Both runs in a runs folder; megabytes of the journal of the first."""
    for name in _STRATEGIES:
        config = settings(runs, name, _K, models - 5)
        if every_pair:
            strategy = (_Kinship if name == "kinship" else _Greedy)(k=_K)
            config = config.model_copy(update={"strategy": strategy})
        drive(LuckyWorkplace(config, RunDirectory(runs / name)), (), test_gains=untested)
    return (runs / _STRATEGIES[0] / "journal.jsonl").stat().st_size / 1e6


def cpu_seconds(*words: object) -> float:
    """CPU seconds of an `evomerge` command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "evomerge", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=745)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = words.folder or Path(temporary)
        print("journals               MB  report s  comparison s  status s")
        for title, every_pair in (("new", False), ("every pair measured", True)):
            runs = folder / title.replace(" ", "-")
            size = make_runs(runs, words.models, every_pair)
            commands = (
                ("report", _STRATEGIES[0], "--dir", runs),
                ("compare", *_STRATEGIES, "--dir", runs, "--html", folder / "page.html"),
                ("status", _STRATEGIES[0], "--dir", runs),
            )
            report, comparison, status = (
                min(cpu_seconds(*command) for _ in range(words.rounds)) for command in commands
            )
            print(f"{title:<19} {size:>5.1f}  {report:>8.2f}  {comparison:>12.2f}  {status:>8.2f}")


if __name__ == "__main__":
    main()
