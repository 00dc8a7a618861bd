"""Arms: evomerge runs over a fixture's shared store, and their winners on the held-out items."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, get_args

sys.path.insert(0, str(Path(__file__).parents[2]))
import make_tiny_models as tiny
from fixtures import HELD_OUT, Fixture

from evomerge.config import Config
from evomerge.domain.events import GenerationFinished, HeldOutScored, ModelMerged, ModelScored
from evomerge.domain.model import Disentangling, Model
from evomerge.domain.population import rank
from evomerge.domain.scores import Scores
from evomerge.domain.state import RunState, apply, fold
from evomerge.driver import drive
from evomerge.stopping import (
    Criterion,
    KinshipSaturation,
    NoImprovement,
    PoolUnchanged,
)
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import SilentObserver
from evomerge.wiring import LocalWorkplace

MARKS = (10, 20, 30, 40)
METHODS: dict[str, dict[str, Any]] = {
    "ties": {"weight": 0.8, "density": 0.5, "normalize": False},
    "slerp": {"t": 0.5},
    "linear": {"weight": 0.5},
    "dare_ties": {"weight": 0.8, "density": 0.5},
    "task_arithmetic": {"weight": 0.8},
    "wudi": {"weight": 1.0},
    "regmean_pp": {"weight": 1.0, "anchor": "none"},
}
CALIBRATION = 100
"""Selection items of each task that `regmean_pp` learns from; the rest selects."""
CRITERIA: dict[str, Criterion] = {
    "pool_unchanged": PoolUnchanged(),
    "kinship_saturation 0.9": KinshipSaturation(threshold=0.9),
    "no_improvement 2": NoImprovement(patience=2),
}
OF_PAIRS = ("greedy", "kinship", "random", "steady_state")
OF_ALL = ("seed_grid", "coefficient_search")
DRAWING = ("random", "coefficient_search")
"""Strategies that draw; every run of another one makes the same children."""


@dataclass(frozen=True)
class Arm:
    """A strategy with a merge method, and further options of the strategy."""

    strategy: str
    method: str = "ties"
    variant: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 1

    @property
    def title(self) -> str:
        """`slerp-kinship`; strategies that choose between TIES and task arithmetic: their name."""
        chosen = self.strategy in OF_ALL and self.method not in get_args(Disentangling)
        words = [self.strategy] if chosen else [self.method, self.strategy]
        return "-".join([*words, *([self.variant] if self.variant else [])])

    def seeded(self, seed: int) -> Self:
        """The arm with another seed; itself if its strategy does not draw."""
        return replace(self, seed=seed) if self.strategy in DRAWING else self

    @property
    def name(self) -> str:
        """The name of its runs: the title, with the number of the seed if it is not the first."""
        return self.title if self.seed == 1 else f"{self.title}-seed{self.seed}"

    def config(self, fixture: Fixture, evaluations: int) -> Config:
        """`document`, validated."""
        return Config.model_validate(self.document(fixture, evaluations))

    def document(self, fixture: Fixture, evaluations: int) -> dict[str, Any]:
        """The config of this arm's run on a fixture; only the budget ends it.

        Args:
            evaluations: number of children, without the foundation models.
        """
        seed = fixture.number + 1000 * (self.seed - 1)
        split: dict[str, Any] = {"held_out": HELD_OUT / (HELD_OUT + fixture.items)}
        if self.method == "regmean_pp":
            split["calibration"] = CALIBRATION
        tasks = [
            {"name": tiny.task_name(skill), "metric": tiny.metric_name(skill)}
            for skill in tiny.SKILLS
        ]
        return {
            "run": {"name": self.name, "dir": fixture.runs, "seed": seed},
            "base_model": str(fixture.models / tiny.BASE),
            "foundation_models": [str(fixture.models / skill) for skill in tiny.SKILLS],
            "strategy": {"name": self.strategy, "k": 3, **self.settings},
            "merge": {"method": self.method, "parameters": METHODS[self.method]},
            "evaluation": {
                "include": [fixture.tasks],
                "tasks": tasks,
                "split": split,
                "dtype": "float32",
                "batch_size": 256,
            },
            "stopping": [{"max_evaluations": len(tiny.SKILLS) + evaluations}],
            "execution": {"devices": ["cpu"], "report": False},
        }


def arms_of(size: str) -> tuple[Arm, ...]:
    """`quick`: TIES for all, SLERP for the paper's question; `full`: every method and ablation."""
    rules = (*get_args(Disentangling), "ties")
    over_all = tuple(Arm(strategy, method) for method in rules for strategy in OF_ALL)
    ties = tuple(Arm(strategy) for strategy in OF_PAIRS)
    slerp = (Arm("greedy", "slerp"), Arm("kinship", "slerp"))
    wudi = tuple(Arm(strategy, "wudi") for strategy in OF_PAIRS)
    if size == "quick":
        return (*ties[:2], *over_all, *wudi, *ties[2:], *slerp)
    pairs = tuple(
        Arm(each, method) for method in METHODS if method != "regmean_pp" for each in OF_PAIRS
    )
    everyone, elites = {"exploration": {"candidates": "repository"}}, {"pool": "elites"}
    variants = [
        Arm("kinship", method, variant, settings)
        for method in ("ties", "slerp")
        for variant, settings in (
            ("highest", {"exploration": {"prefer": "highest"}}),
            ("repository", everyone),
            ("elites", elites),
        )
    ]
    variants += [
        Arm("random", "ties", "repository", everyone),
        Arm("kinship", "task_arithmetic", "elites", elites),
    ]
    return (*over_all, *pairs, *variants)


class _Shared(LocalWorkplace):
    """An arm's workplace that uses the child processes of another one.

    The arms of a fixture differ only in strategy and recipes; starting mergekit and lm-eval for
    each of them would take longer than the work.
    """

    def __init__(self, config: Config, run: RunDirectory, crew: LocalWorkplace) -> None:
        super().__init__(config, run)
        self.pool = crew.pool
        self.__dict__["_resolved"] = crew._resolved  # noqa: SLF001, of the same class

    def close(self) -> None:
        """Do nothing: the next arm uses the child processes."""


def crew_of(fixture: Fixture, arm: Arm) -> LocalWorkplace:
    """The workplace with the child processes for all arms of a fixture; close it after the last."""
    return LocalWorkplace(arm.config(fixture, 1), RunDirectory(fixture.runs / "crew"))


def run_arm(arm: Arm, fixture: Fixture, evaluations: int, crew: LocalWorkplace) -> RunState:
    """Run, resume or only read an arm."""
    config = arm.config(fixture, evaluations)
    run = RunDirectory(fixture.runs / arm.name)
    return drive(_Shared(config, run, crew), [SilentObserver()])


def finished(arms: Sequence[Arm], fixture: Fixture) -> dict[str, RunState]:
    """The finished arms of a fixture, by name."""
    found = {}
    for arm in arms:
        run = RunDirectory(fixture.runs / arm.name)
        if run.exists and (state := fold(run.read())).finished:
            found[arm.name] = state
    return found


def stops(arm: Arm, fixture: Fixture) -> dict[str, int]:
    """The number of children at which each of `CRITERIA` would have ended a finished arm, if any.

    The arms run to their budget, so that one run gives the cost of every criterion.
    """
    found: dict[str, int] = {}
    state = RunState()
    for entry in RunDirectory(fixture.runs / arm.name).read():
        state = apply(state, entry)
        if isinstance(entry.event, GenerationFinished) and entry.event.generation:
            children = state.evaluations - len(state.at_generation(0))
            for name, criterion in CRITERIA.items():
                if name not in found and criterion.reached(state):
                    found[name] = children
    return found


def winners(state: RunState, marks: Sequence[int]) -> dict[int, Model]:
    """The best model among the first children up to each mark, in the order of proposal.

    If a search ends before a mark, its winner counts there.
    """
    founders = list(state.at_generation(0))
    children = [model for model in state.models.values() if model.generation and model.scores]
    return {mark: min(founders + children[:mark], key=rank) for mark in marks}


def held_out(
    states: Mapping[str, RunState],
    arms: Sequence[Arm],
    fixture: Fixture,
    marks: Mapping[str, Sequence[int]],
) -> dict[str, Scores]:
    """Held-out scores of the winners at the marks of each arm, by content id.

    Stored scores are reused.
    """
    known: dict[str, Scores] = {}
    wanted: dict[str, Model] = {}
    for name, state in states.items():
        for model in state.models.values():
            scores = model.on("held_out")
            if scores is not None:
                known[model.content_id] = scores
        for model in winners(state, marks[name]).values():
            wanted[model.content_id] = replace(model, name=model.content_id)
    kept = fixture.folder / "held-out.json"
    if kept.exists():
        stored = json.loads(kept.read_text(encoding="utf-8"))
        known |= {each: Scores.model_validate(scores) for each, scores in stored.items()}
    missing = [model for content_id, model in wanted.items() if content_id not in known]
    if missing:
        known |= _held_out(missing, states, arms[0], fixture)
        written = {each: scores.model_dump(mode="json") for each, scores in known.items()}
        kept.write_text(json.dumps(written), encoding="utf-8")
    return known


def _held_out(
    models: Sequence[Model], states: Mapping[str, RunState], arm: Arm, fixture: Fixture
) -> Iterator[tuple[str, Scores]]:
    config = arm.config(fixture, 1)
    with closing(LocalWorkplace(config, RunDirectory(fixture.runs / "judge"))) as workplace:
        evaluation = workplace.check()
        known = [model for state in states.values() for model in state.models.values()]
        executor = workplace.executor(evaluation, known, SilentObserver())
        for event in executor.score_held_out(models, "held_out"):
            if isinstance(event, HeldOutScored):
                yield event.model, event.scores


def prices(fixture: Fixture, states: Mapping[str, RunState]) -> dict[str, float]:
    """Seconds of the first merge and evaluation of every child, by content id."""
    paid: dict[str, float] = {}
    for name, state in states.items():
        for entry in RunDirectory(fixture.runs / name).read():
            event = entry.event
            if isinstance(event, ModelMerged | ModelScored) and not event.reused:
                content_id = state.models[event.model].content_id
                paid[content_id] = paid.get(content_id, 0.0) + event.seconds
    return paid
