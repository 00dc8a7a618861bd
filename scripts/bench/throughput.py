"""Throughput of a warm run against command lines and direct calls, on the tiny models.

    python scripts/bench/throughput.py [--children 3] [--bare 10] [--devices 'cpu*2'] [--json FILE]

Needs runs/tiny (`scripts/quickstart` makes it) and some minutes on an idle machine. Everything is
measured in one session, so ratios count, not seconds:

- the command lines `mergekit-yaml` and `lm_eval run`, once per child, on --children children; they
  measure no kinship, which is included in evomerge's time;
- direct calls of `run_merge` and `evaluate` in one warm process with tasks loaded once, on --bare
  children, against evomerge's executor with one child at a time (nothing overlaps, everything is
  hashed, synced and journaled) and against a whole run, where merging and scoring overlap;
- the time to the first event and the first merge, of resuming a finished run, and of a second run
  that finds all its work in the store;
- a greedy arm after a kinship arm: the work that it repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import yaml

from evomerge.adapters.mergekit import mergekit_config
from evomerge.configfile import anchored, load
from evomerge.domain.events import ModelMerged, ModelScored
from evomerge.domain.model import Model
from evomerge.domain.state import Entry, fold
from evomerge.store.journal import Journal
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import SilentObserver
from evomerge.wiring import LocalWorkplace

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "tiny.yaml"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
ALIKE = ("evaluation.split={held_out: 0}", "execution.report=false")
"""Settings of every run: children are scored on all items, as by the command lines, and no report
is drawn meanwhile."""
WARM_UP = 2
"""Children at the start of a process that are not counted: libraries import on first use."""


@dataclass(frozen=True)
class Ran:
    """One `evomerge run`: start time, duration, journal."""

    folder: Path
    called: float
    seconds: float
    entries: tuple[Entry, ...]

    def first(self, kind: str) -> float:
        """Seconds from the start to the first event of a kind."""
        return next(e.at for e in self.entries if e.event.type == kind) - self.called

    def seconds_a_child(self) -> float:
        """Of merge, score and kinship, from the first proposal to the end of the last generation.

        Generation 0 warmed the processes up.
        """
        begun = next(e.at for e in self.entries if e.event.type == "generation_proposed")
        ended = [e.at for e in self.entries if e.event.type == "generation_finished"][-1]
        return (ended - begun) / len(self.offspring())

    def offspring(self) -> list[Model]:
        """All scored children, in order."""
        return [m for m in fold(self.entries).models.values() if m.candidate and m.scores]

    def done(self) -> dict[str, list[tuple[str, bool]]]:
        """(content id, whether it was reused) of every merge and evaluation."""
        models = fold(self.entries).models
        return {
            kind.__name__: [
                (models[e.event.model].content_id, e.event.reused)
                for e in self.entries
                if isinstance(e.event, kind)
            ]
            for kind in (ModelMerged, ModelScored)
        }


def run(runs: Path, name: str, generations: int, *settings: str) -> Ran:
    """Run `evomerge run` on the tiny config in a process of its own."""
    stopping = f"stopping=[{{max_generations: {generations}}}]"
    given = [f"run.dir={runs}", f"run.name={name}", stopping, *ALIKE, *settings]
    overrides = [word for setting in given for word in ("--set", setting)]
    called, started = time.time(), time.monotonic()
    _call([sys.executable, "-m", "evomerge", "run", str(CONFIG), *overrides])
    seconds = time.monotonic() - started
    folder = RunDirectory(runs / name)
    return Ran(folder.path, called, seconds, tuple(folder.read()))


def _call(command: Sequence[str]) -> str:
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def recipes(ran: Ran) -> Iterator[tuple[Model, dict[str, Any]]]:
    """Every child with its mergekit configuration, over the folders that the run used."""
    state = fold(ran.entries)
    start = state.start
    folders = {m.content_id: str(ROOT / m.source) for m in (start.base, *start.foundation)}
    store = ran.folder.parent / "store" / "models"
    for child in ran.offspring():
        if child.candidate is None:
            continue
        recipe = child.candidate.recipe
        config = mergekit_config(recipe)
        here = {each: folders.get(each, str(store / each)) for each in recipe.inputs}
        text = yaml.safe_dump(config, sort_keys=False)
        for name, folder in here.items():
            text = text.replace(name, folder)
        yield child, {"config": text, "seed": recipe.seed or 0}


def command_lines(ran: Ran, count: int, work: Path) -> list[float]:
    """Seconds of `mergekit-yaml` and `lm_eval run` for each of the last `count` children."""
    evaluation = load(CONFIG).evaluation
    programs = Path(sys.executable).parent
    seconds = []
    for number, (_, job) in enumerate(list(recipes(ran))[-count:]):
        config, out = work / f"{number}.yaml", work / f"{number}"
        config.write_text(job["config"])
        started = time.monotonic()
        _call([str(programs / "mergekit-yaml"), str(config), str(out)])
        _call([
            str(programs / "lm_eval"), "run", "--model", "hf",
            "--model_args", f"pretrained={out},dtype={evaluation.dtype}",
            "--tasks", ",".join(task.name for task in evaluation.tasks),
            "--include_path", *map(str, evaluation.include),
            "--batch_size", str(evaluation.batch_size), "--device", "cpu",
            "--output_path", str(work / f"results-{number}"), "--log_samples",
        ])  # fmt: skip
        seconds.append(time.monotonic() - started)
    return seconds


def bare(jobs: Sequence[Mapping[str, Any]], work: Path) -> list[float]:
    """Seconds per child of `run_merge` and `evaluate` in this process, tasks loaded once."""
    import lm_eval
    import mergekit.io.tasks
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    settings = load(CONFIG)
    evaluation, threads = settings.evaluation, settings.merge.options.threads
    include = [str(ROOT / folder) for folder in evaluation.include]
    tasks = TaskManager(include_path=include, include_defaults=False).load(
        [task.name for task in evaluation.tasks]
    )
    all_threads = torch.get_num_threads()
    seconds = []
    for number, job in enumerate(jobs):
        out = work / f"bare-{number}"
        started = time.monotonic()
        torch.set_num_threads(threads)
        mergekit.io.tasks.LoaderCache.loaders.clear()
        options = MergeOptions(random_seed=job["seed"], quiet=True, write_model_card=False)
        run_merge(
            MergeConfiguration.model_validate(yaml.safe_load(job["config"])), str(out), options
        )
        torch.set_num_threads(all_threads)
        model = HFLM(
            pretrained=str(out),
            device="cpu",
            dtype=evaluation.dtype,
            batch_size=evaluation.batch_size,
        )
        lm_eval.evaluate(lm=model, task_dict=tasks, bootstrap_iters=1000)
        seconds.append(time.monotonic() - started)
    return seconds


def one_at_a_time(ran: Ran, count: int, work: Path) -> list[float]:
    """Seconds per child of evomerge's executor without overlap; every event is journaled."""
    overrides = [*ALIKE, f"run.dir={work / 'one'}", "execution.devices=[cpu]"]
    settings = anchored(load(CONFIG, overrides), ROOT)
    directory = RunDirectory(settings.run.dir / settings.run.name)
    directory.path.mkdir(parents=True)
    workplace = LocalWorkplace(settings, directory)
    journal = Journal.create(directory.journal, ran.entries[0])
    models = fold(ran.entries[:1]).models
    unborn = [replace(child, merged=False, scores=None) for child in ran.offspring()]
    seconds = []
    with closing(workplace), journal:
        evaluation = workplace.check()
        executor = workplace.executor(evaluation, models.values(), SilentObserver())
        for child in [*models.values(), *unborn][: len(models) + count]:
            started = time.monotonic()
            work_of = executor.breed if child.candidate else executor.score
            for event in work_of([child]):
                journal.append(Entry(at=time.time(), event=event))
            if child.candidate:
                seconds.append(time.monotonic() - started)
    return seconds


def bare_in_a_process(ran: Ran, count: int, work: Path) -> list[float]:
    """`bare` in a fresh process."""
    jobs = work / "jobs.json"
    jobs.write_text(json.dumps([job for _, job in recipes(ran)][:count]))
    output = _call([sys.executable, __file__, "--jobs", str(jobs)])
    seconds: list[float] = json.loads(output.splitlines()[-1])
    return seconds


def measured(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All measurements, in seconds unless their names say otherwise."""
    runs, generations = work / "runs", arguments.generations
    say("a kinship-guided run, one scoring worker")
    first = run(runs, "kinship", generations, "execution.devices=[cpu]")
    say("the same run, finished, asked for again")
    again = run(runs, "kinship", generations, "execution.devices=[cpu]")
    say("the same work under another name")
    reused = run(runs, "reused", generations, "execution.devices=[cpu]")
    say("a greedy arm")
    greedy = run(runs, "greedy", generations, "strategy.name=greedy", "execution.devices=[cpu]")
    say(f"the run with workers on {arguments.devices}, {arguments.merge_workers} merging")
    workers = run(
        work / "workers",
        "kinship",
        generations,
        f"execution.devices=[{arguments.devices}]",
        f"execution.merge_workers={arguments.merge_workers}",
    )
    say(f"bare calls of {arguments.bare} children, then the executor, one at a time")
    calls = bare_in_a_process(first, arguments.bare, work)[WARM_UP:]
    alone = one_at_a_time(first, arguments.bare, work)[WARM_UP:]
    say(f"the command lines of {arguments.children} children")
    lines = command_lines(first, arguments.children, work)
    return {
        "command lines, a child": mean(lines),
        "bare calls, a child": median(calls),
        "evomerge one at a time, a child": median(alone),
        "evomerge run, a child": first.seconds_a_child(),
        "evomerge run with workers, a child": workers.seconds_a_child(),
        "to the first event": first.first("run_started"),
        "to the first merge": first.first("model_merged"),
        "finished run, asked for again": again.seconds,
        "all of it reused, whole run": reused.seconds,
        "all of it reused, to the first event": reused.first("run_started"),
        "first arm, whole run": first.seconds,
        "second arm, whole run": greedy.seconds,
        "second arm": redone(first, greedy),
    }


def redone(first: Ran, second: Ran) -> dict[str, int]:
    """Numbers of a second arm: new work, reused work, and work of the first arm done again."""
    counts = {"done again": 0, "reused": 0, "new": 0}
    before = first.done()
    for kind, works in second.done().items():
        known = {content_id for content_id, _ in before[kind]}
        for content_id, was_reused in works:
            counts["reused" if was_reused else "new"] += 1
            counts["done again"] += not was_reused and content_id in known
    return counts


def table(figures: Mapping[str, Any]) -> str:
    """The measurements with their targets, as Markdown."""
    ratio = figures["command lines, a child"] / figures["evomerge run, a child"]
    several = figures["command lines, a child"] / figures["evomerge run with workers, a child"]
    above = figures["evomerge one at a time, a child"] / figures["bare calls, a child"] - 1
    overlapped = figures["evomerge run, a child"] / figures["bare calls, a child"] - 1
    arm = figures["second arm"]
    rows = [
        ("throughput against the command lines", f"{ratio:.1f}x", "40x", ratio >= 40),
        ("... with several workers", f"{several:.1f}x", "40x", several >= 40),
        ("above bare calls, one at a time", f"{above:+.0%}", "< 15 %", above < 0.15),
        ("above bare calls, a whole run", f"{overlapped:+.0%}", "< 15 %", overlapped < 0.15),
        ("second arm: work done again", str(arm["done again"]), "0", arm["done again"] == 0),
    ]
    lines = ["| measure | here | target | met |", "| --- | --- | --- | --- |"]
    lines += [f"| {a} | {b} | {c} | {'yes' if met else 'NO'} |" for a, b, c, met in rows]
    lines += ["", "| seconds | |", "| --- | --- |"]
    lines += [f"| {name} | {v:.2f} |" for name, v in figures.items() if isinstance(v, float)]
    lines += ["", f"second arm: {arm['reused']} merges and evaluations reused, {arm['new']} new"]
    return "\n".join(lines)


def say(what: str) -> None:
    """Print progress to stderr."""
    sys.stderr.write(f"... {what}\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--children", type=int, default=3, help="children by command line")
    parser.add_argument("--bare", type=int, default=10, help="children by bare calls")
    parser.add_argument("--generations", type=int, default=6, help="of every run")
    parser.add_argument("--devices", default="cpu*2", help="of the run with several workers")
    parser.add_argument("--merge-workers", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--jobs", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.jobs is not None:
        jobs = json.loads(arguments.jobs.read_text())
        with tempfile.TemporaryDirectory() as folder:
            output = bare(jobs, Path(folder))
        print(json.dumps(output))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(arguments, Path(folder))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1))
    print(table(figures))


if __name__ == "__main__":
    main()
