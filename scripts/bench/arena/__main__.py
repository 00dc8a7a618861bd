"""Which strategy finds the best model for its budget? Real merges and scores of tiny models.

    python scripts/bench/arena [--quick | --full] [--seeds N] [--parents KIND] OUT_DIR

Every run of an arm is an evomerge run in OUT_DIR/fixture-N/runs, with one store per fixture. The
command can be interrupted and resumed; OUT_DIR/arena.md and arena.json are written after each
fixture, or for the finished arms with --report. With --parents overlap or lora the foundation
models are others, and the files arena-overlap.md and so on.
A child costs about a second on an idle machine. Run it under `nice` beside other work.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

# Set before any child process starts: no downloads, no spinning threads.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}

from arms import MARKS, Arm, arms_of, crew_of, finished, held_out, run_arm, stops
from families import Parents
from fixtures import Fixture, fair
from judge import judged
from results import Played, document
from table import markdown

from evomerge.domain.errors import EvomergeError

FIXTURES = {"quick": 2, "full": 5}


def _run_all(arms: Sequence[Arm], fixture: Fixture, evaluations: int) -> None:
    """Run all unfinished arms, one after the other."""
    done = finished(arms, fixture)
    if len(done) == len(arms):
        return
    with closing(crew_of(fixture, arms[0])) as crew:
        for number, arm in enumerate(arms, start=1):
            if arm.name in done:
                continue
            started = time.monotonic()
            state = run_arm(arm, fixture, evaluations, crew)
            best = state.best.score if state.best else 0.0
            spent = time.monotonic() - started
            _say(f"{fixture.title}: arm {number} of {len(arms)}, {arm.name}: {best:.1f} on dev "
                 f"({spent:.0f} s)")  # fmt: skip


def report(
    fixtures: Sequence[Fixture],
    arms: Sequence[Arm],
    controls: dict[str, Any],
    marks: Sequence[int],
    out: Path,
    landscapes: int,
    criteria: bool,
) -> str:
    """Score the winners on held-out items; writes `arena.json` and `arena.md` (returned).

    Args:
        criteria: also score the winners at which a stopping criterion would have ended an arm.
    """
    played = []
    for fixture in fixtures:
        states = finished(arms, fixture)
        there = {arm.name: arm for arm in arms if arm.name in states}
        if states:
            ended = {name: stops(arm, fixture) for name, arm in there.items()} if criteria else {}
            asked = {name: {*marks, *ended.get(name, {}).values()} for name in there}
            scores = held_out(states, arms, fixture, {n: sorted(m) for n, m in asked.items()})
            played.append(Played(fixture, states, scores, ended, judged(fixture, marks)))
    found = document(arms, played, controls, marks, landscapes)
    text = markdown(found)
    name = "-".join(["arena", *{each.parents for each in fixtures} - {"specialists"}])
    (out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    return text


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", default="quick",
                      help="two fixtures, TIES, the paper's question with SLERP")  # fmt: skip
    size.add_argument("--full", dest="size", action="store_const", const="full",
                      help="five fixtures, every method and ablation; hours")  # fmt: skip
    parser.add_argument("--fixtures", type=int, metavar="N",
                        help="number of fair fixtures, instead of two or five")  # fmt: skip
    parser.add_argument("--evaluations", type=int, metavar="N", choices=MARKS, default=MARKS[-1],
                        help="children per arm; another number needs another OUT_DIR")  # fmt: skip
    parser.add_argument("--numbers", help="the fixtures to try, comma-separated, instead of all")
    parser.add_argument("--seeds", type=int, default=1, metavar="N",
                        help="runs of every arm whose strategy draws")  # fmt: skip
    parser.add_argument("--parents", choices=get_args(Parents), default="specialists",
                        help="tuned on one skill each, on two each, or with LoRA")  # fmt: skip
    parser.add_argument("--arms", help="only these, comma-separated")
    parser.add_argument("--landscapes", type=int, default=40, metavar="N",
                        help="of the simulation, for each fixture")  # fmt: skip
    parser.add_argument(
        "--criteria", action="store_true", help="report what stopping criteria would have cost"
    )
    parser.add_argument(
        "--report", action="store_true", help="run no arm, report the finished ones"
    )
    options = parser.parse_args()
    arms = arms_of(options.size)
    if options.arms:
        known, wanted = {arm.name: arm for arm in arms}, options.arms.split(",")
        if unknown := [name for name in wanted if name not in known]:
            parser.error(f"--arms: {unknown[0]!r} is none of {', '.join(known)}")
        arms = tuple(known[name] for name in wanted)
    seeds = range(1, options.seeds + 1)
    runs = [arm.seeded(seed) for seed in seeds for arm in arms]
    arms = tuple({arm.name: arm for arm in runs}.values())
    numbers = [int(each) for each in options.numbers.split(",")] if options.numbers else None
    options.out.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()
    marks = tuple(mark for mark in MARKS if mark <= options.evaluations)
    try:
        fixtures, controls = fair(
            options.fixtures or FIXTURES[options.size], out, numbers, options.parents
        )
        for title, found in controls.items():
            for fault in found["faults"]:
                _say(f"{title} is unfair and left out: {fault}")
        for fixture in () if options.report else fixtures:
            _run_all(arms, fixture, marks[-1])
            report(fixtures, arms, controls, marks, out, landscapes=0, criteria=False)
        told = report(fixtures, arms, controls, marks, out, options.landscapes, options.criteria)
        print(told)
    except EvomergeError as error:
        _say(f"error: {error}\nresume with the same command")
        return 75
    except KeyboardInterrupt:
        _say("interrupted; resume with the same command")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
