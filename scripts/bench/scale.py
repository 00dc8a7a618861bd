"""Cost of the driver per child as a run grows, with imagined merges and scores.

    python scripts/bench/scale.py [--strategies greedy,kinship,steady_state] [--children 5000]
                                  [--folder DIR] [--plain] [--json FILE]

The real driver, journal, checkpoints and run directory over an imagined world: a child scores the
mean of its parents plus noise. Each strategy runs in a process of its own, for its peak memory.
`coefficient_search` has 1,000 random children a generation. Printed at 100, 600, 1,000, 2,000,
5,000 children and so on to --children: milliseconds of the driver per child (over the last 50 to
100 children before the mark; CPU and wall clock, without the landscape), bytes of the journal and
of the checkpoints per child, peak memory; at the end the time to open the run again (read and
fold), and ratios to 100 children.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

from evomerge.cli import collect_rarely
from evomerge.config import Config
from evomerge.domain.errors import StoppedError
from evomerge.domain.events import Event
from evomerge.domain.kinship import KinshipReading
from evomerge.domain.model import Foundation, Model
from evomerge.domain.scores import Scores, TaskScore
from evomerge.domain.state import RunState, fold
from evomerge.driver import drive
from evomerge.evolution import untested
from evomerge.execution.evaluation import Evaluation
from evomerge.execution.pool import Pool
from evomerge.imagined.world import ImaginedExecutor
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.plain import PlainReporter
from evomerge.workplace import Setting, Workplace

MARKS = (100, 600, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_FOUNDATION = 5
_TASKS, _ITEMS = 3, 200
_LUCK = (-0.05, 0.05)
"""Mean and standard deviation of the noise that is added to the mean of the parents, in logits.

Most children are worse than their parents and about one in a hundred is a new best model, so that
after thousands of them there is room to improve and a pair of the pool to merge.
"""


class Luck:
    """Scores that drift, and kinship drawn for each pair, with the time that they took.

    Attributes:
        wall, cpu: seconds so far.
    """

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self._logits: dict[str, list[float]] = {}

    @contextmanager
    def _timed(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def scores(self, model: Model) -> Scores:
        """The mean of the parents' scores plus noise."""
        with self._timed():
            rng = Random(zlib.crc32(model.name.encode()))
            inherited = [self._logits[name] for name in model.parents] or [[-2.0] * _TASKS]
            columns = zip(*inherited, strict=True)
            own = [math.fsum(each) / len(each) + rng.gauss(*_LUCK) for each in columns]
            self._logits[model.name] = own
            tasks = tuple(_score(number, logit, rng) for number, logit in enumerate(own))
            return Scores(evaluation_id="luck", tasks=tasks)

    def kinship(self, a: Model, b: Model) -> KinshipReading:
        """Kinship drawn from the models' names."""
        with self._timed():
            value = zlib.crc32(f"{a.name} {b.name}".encode()) / 2**32
            return KinshipReading(
                models=(a.name, b.name), pcc=value, cosine=value, euclidean=1.0 - value
            )


def _score(number: int, logit: float, rng: Random) -> TaskScore:
    return TaskScore(
        task=f"task-{number}",
        metric="acc",
        value=100.0 / (1.0 + math.exp(-logit)),
        stderr=1.0,
        samples=_ITEMS,
        solved=f"{rng.getrandbits(_ITEMS):x}",
    )


class LuckyWorkplace(Workplace):
    """A run over `Luck`, without workers."""

    def __init__(self, config: Config, run: RunDirectory) -> None:
        super().__init__(config, run, Pool(()))
        self.luck = Luck()

    @property
    def setting(self) -> Setting:
        """Models without weights; no config file, no environment."""
        names = ["base", *(f"founder-{number}" for number in range(_FOUNDATION))]
        base, *models = (
            Foundation(name=name, source=name, content_id=name, vocabulary=1) for name in names
        )
        return Setting(
            base=base,
            foundation=tuple(models),
            folders={},
            model_size=0,
            engine="luck 1",
            versions={},
            config_id="luck",
            config="# no config\n",
            environment={},
        )

    def check(self) -> Evaluation:
        """Accept everything."""
        return Evaluation(ids={"selection": "luck"}, counted={})

    def prepare(self, observer: object) -> None:
        """Do nothing: there are no weights."""

    def executor(self, *_: object) -> ImaginedExecutor:
        """An executor over this run's `Luck`."""
        return ImaginedExecutor(self.luck.scores, self.luck.kinship)


class Stopwatch:
    """The observer that measures at the marks and ends the run at the last one."""

    def __init__(self, run: RunDirectory, luck: Luck, marks: Sequence[int]) -> None:
        self._run, self._luck, self._marks = run, luck, list(marks)
        self._began = self._now()
        self._at: list[tuple[int, float, float]] = []
        self.rows: list[dict[str, float]] = []

    def _now(self) -> tuple[float, float]:
        """Wall clock and CPU seconds, without the landscape's."""
        return time.perf_counter() - self._luck.wall, time.process_time() - self._luck.cpu

    def on_event(self, event: Event, state: RunState) -> None:
        """Count children as generations end."""
        if event.type != "generation_finished":
            return
        children = state.evaluations - _FOUNDATION
        self._at.append((children, *self._now()))
        if self._marks and children >= self._marks[0]:
            self._mark(self._marks.pop(0))
        if not self._marks:
            raise StoppedError("enough")

    def on_progress(self, model: str, activity: str, done: int, total: int, host: str = "") -> None:
        """Do nothing."""

    def _mark(self, mark: int) -> None:
        children, wall, cpu = self._at[-1]
        before = next(at for at in reversed(self._at) if at[0] <= children - min(90, mark / 2))
        count = children - before[0]
        self.rows.append(
            {
                "children": children,
                "wall_ms": 1000 * (wall - before[1]) / count,
                "cpu_ms": 1000 * (cpu - before[2]) / count,
                "total_s": wall - self._began[0],
                "journal_b": self._run.journal.stat().st_size / children,
                "checkpoints_b": _size(self._run.generations) / children,
                "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
        print(json.dumps(self.rows[-1]), file=sys.stderr, flush=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def settings(runs: Path, strategy: str, k: int, children: int = 1_000_000) -> Config:
    """The config of a run over luck, in a runs folder."""
    document: dict[str, Any] = {
        "run": {"name": strategy, "seed": 1, "dir": str(runs)},
        "base_model": "base",
        "foundation_models": [f"founder-{number}" for number in range(_FOUNDATION)],
        "strategy": _of_name(strategy, k),
        "merge": {"method": "dare_ties"},
        "evaluation": {"tasks": ["luck"]},
        "stopping": [
            {"no_improvement": {"patience": 10_000, "min_delta": 0.1}},
            {"max_evaluations": _FOUNDATION + children},
        ],
    }
    return Config.model_validate(document)


def _of_name(strategy: str, k: int) -> dict[str, Any]:
    if strategy == "coefficient_search":  # its points cost nothing to choose at random
        return {"name": strategy, "search": {"algorithm": "random", "children": 1000}}
    return {"name": strategy, "k": k}


def measure(
    folder: Path, strategy: str, k: int, marks: Sequence[int], plain: bool = False
) -> dict[str, Any]:
    """Run to the last mark, then open the run again."""
    run = RunDirectory(folder / "runs" / strategy)
    workplace = LuckyWorkplace(settings(folder / "runs", strategy, k), run)
    watch = Stopwatch(run, workplace.luck, marks)
    with ExitStack() as stack:
        observers: list[Any] = [watch]
        if plain:
            observers.insert(0, stack.enter_context(PlainReporter(StringIO())))
        try:
            ended = drive(workplace, observers, test_gains=untested)
            sys.exit(f"the search ended after {ended.evaluations} evaluations: {ended.stop}")
        except StoppedError as stopped:
            if str(stopped) != "enough":
                raise
    started = time.perf_counter()
    entries = run.read()
    read = time.perf_counter()
    state = fold(entries)
    folded = time.perf_counter()
    state.ranking, state.pool  # noqa: B018 - whoever opens a run asks for these
    return {
        "strategy": strategy,
        "rows": watch.rows,
        "entries": len(entries),
        "readings": len(state.readings),
        "read_s": read - started,
        "fold_s": folded - read,
    }


def table(result: Mapping[str, Any]) -> str:
    """The results of one strategy, with ratios to its first mark."""
    first = result["rows"][0]
    opened = (
        f"{result['strategy']}: {result['entries']} events, {result['readings']} readings; "
        f"opened in {result['read_s'] + result['fold_s']:.2f} s "
        f"(read {result['read_s']:.2f}, fold {result['fold_s']:.2f})"
    )
    lines = [
        opened,
        "children  wall ms  cpu ms  ×cpu  journal B  ×     checkpoint B  ×     memory MB",
    ]
    for row in result["rows"]:
        times = {key: row[key] / first[key] for key in ("cpu_ms", "journal_b", "checkpoints_b")}
        lines.append(
            f"{row['children']:>8}  {row['wall_ms']:>7.2f}  {row['cpu_ms']:>6.2f}  "
            f"{times['cpu_ms']:<4.1f}  {row['journal_b']:>9.0f}  {times['journal_b']:<4.1f}  "
            f"{row['checkpoints_b']:>12.0f}  {times['checkpoints_b']:<4.1f}  "
            f"{row['memory_mb']:>9.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", default="greedy,kinship,steady_state")
    parser.add_argument("--k", type=int, default=30)
    parser.add_argument("--children", type=int, default=5000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--plain", action="store_true", help="with the lines of `--plain`")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    marks = [mark for mark in MARKS if mark < words.children] + [words.children]
    if words.alone:
        collect_rarely()  # as the command line does
        result = measure(words.folder, words.strategies, words.k, marks, words.plain)
        print(json.dumps(result))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for strategy in words.strategies.split(","):
            command = [sys.executable, __file__, "--alone", "--strategies", strategy]
            command += ["--k", str(words.k), "--children", str(words.children)]
            command += ["--folder", str(words.folder or folder)]
            command += ["--plain"] if words.plain else []
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(table(results[-1]), flush=True)
    if words.json:
        words.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
