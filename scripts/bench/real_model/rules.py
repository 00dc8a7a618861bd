"""The rows of the table: evomerge runs over one set of specialists, and their children."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from language import perplexities
from skills import CALIBRATION, HELD_OUT, SELECTION, SKILLS, task_name, write_tasks
from specialists import SpecialistSet

from evomerge.config import Config
from evomerge.domain.events import HeldOutScored
from evomerge.domain.model import Model
from evomerge.domain.scores import Scores
from evomerge.domain.state import RunState, fold
from evomerge.driver import drive
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.plain import PlainReporter
from evomerge.testing.landscape_run import SilentObserver
from evomerge.wiring import LocalWorkplace

BATCH_SIZE = 64
BASE = "smollm2"
"""Name of the base model where it is scored."""


@dataclass(frozen=True)
class Rule:
    """A merge rule, as the strategy and the merge method of a config.

    Attributes:
        children: how many the run makes at most.
        data: whether the rule sees `CALIBRATION` items of every task.
    """

    strategy: Mapping[str, Any]
    children: int
    merge: Mapping[str, Any] = field(default_factory=lambda: {"method": "task_arithmetic"})
    data: bool = False

    @property
    def of_pairs(self) -> bool:
        """Whether a child has two parents, so that at most two skills can be kept."""
        return bool(self.strategy["name"] == "greedy")


def _grid(**points: Sequence[float]) -> dict[str, Any]:
    return {"name": "seed_grid", "grid": {key: [*each] for key, each in points.items()}}


def _search(**points: Sequence[float]) -> dict[str, Any]:
    return {"name": "coefficient_search", "grid": points}


def _pairs(method: str, **parameters: object) -> Rule:
    return Rule({"name": "greedy", "k": 4}, 3, {"method": method, "parameters": parameters})


def _regmean(*weights: float, anchor: str = "default") -> Rule:
    merge = {"method": "regmean_pp", "parameters": {"anchor": anchor}}
    return Rule(_grid(regmean_pp=weights), len(weights), merge, data=True)


WUDI = {"method": "wudi"}
RULES = {
    "wudi": Rule(_grid(wudi=[0.6, 0.8, 1.0]), 3, WUDI),
    "regmean_pp": _regmean(0.8, 1.0),
    "regmean_pp, no anchor": _regmean(1.0, anchor="none"),
    "task arithmetic": Rule(_grid(scales=[0.2, 0.3, 0.5], densities=[]), 3),
    "TIES": Rule(_grid(scales=[], densities=[0.2], weights=[0.2, 0.6]), 2),
    "pairs, SLERP": _pairs("slerp", t=0.5),
    "pairs, task arithmetic": _pairs("task_arithmetic", weight=0.5),
    "pairs, wudi": _pairs("wudi", weight=1.0),
    "search, wudi": Rule(_search(wudi=[0.6, 0.8]), 10, WUDI),
    "search, task arithmetic and TIES": Rule(_search(scales=[0.3], weights=[0.4]), 10),
}


class Shared(LocalWorkplace):
    """The workplace of a run that uses the child processes of another one.

    Starting mergekit and lm-eval for every rule would take longer than a merge.
    """

    def __init__(self, config: Config, run: RunDirectory, crew: LocalWorkplace) -> None:
        super().__init__(config, run)
        self.pool = crew.pool

    def close(self) -> None:
        """Do nothing: the next run uses the child processes."""


@dataclass(frozen=True)
class Bench:
    """The runs over one set of specialists, in its folder; they share a store.

    Attributes:
        items: of every task that score a child; of rules that see data, as many as they see.
        held_out: items of every task that score the winners.
    """

    specialists: SpecialistSet
    items: int = SELECTION
    held_out: int = HELD_OUT

    @property
    def runs(self) -> Path:
        """The runs folder."""
        return self.specialists.folder / "runs"

    def config(self, name: str, rule: Rule, *, base: bool = False) -> dict[str, Any]:
        """The config of a rule's run; `base` adds the base model to the foundation models."""
        folder = self.specialists.folder
        models = [str(folder) for folder in self.specialists.folders]
        start = [{"model": str(self.specialists.base), "name": BASE}] if base else []
        calibration = CALIBRATION if rule.data else 0
        tasks, final_tasks = (
            [
                {"name": task_name(skill, held_out=final), "metric": "exact_match", "limit": items}
                for skill in SKILLS
            ]
            for final, items in ((False, 2 * calibration or self.items), (True, self.held_out))
        )
        return {
            "run": {"name": name, "dir": str(self.runs), "seed": self.specialists.seed},
            "base_model": str(self.specialists.base),
            "foundation_models": [*start, *models],
            "strategy": dict(rule.strategy),
            "merge": dict(rule.merge),
            "evaluation": {
                "include": [str(folder / "tasks")],
                "tasks": tasks,
                "final_tasks": final_tasks,
                "split": {"held_out": 0, **({"calibration": calibration} if calibration else {})},
                "batch_size": BATCH_SIZE,
                "max_length": 256,
            },
            "stopping": [{"max_evaluations": len(start) + len(models) + rule.children}],
            "execution": {"devices": ["cpu"], "report": False},
        }

    def run(self, name: str, rule: Rule, *, base: bool = False) -> None:
        """Run or resume a rule; does nothing if it has ended."""
        if self.state(name) is None:
            self.write(name, rule, base=base)
            run = RunDirectory(self.runs / _file_name(name))
            config = Config.model_validate(self.config(run.path.name, rule, base=base))
            drive(Shared(config, run, self.crew), [PlainReporter(sys.stderr)])

    @cached_property
    def crew(self) -> LocalWorkplace:
        """The workplace with the child processes of all runs; close it after the last."""
        config = Config.model_validate(self.config("crew", RULES["wudi"]))
        return LocalWorkplace(config, RunDirectory(self.runs / "crew"))

    def write(self, name: str, rule: Rule, *, base: bool = False) -> Path:
        """Write the tasks and the config of a rule's run; returns the config's path."""
        write_tasks(self.specialists.folder / "tasks")
        config = self.specialists.folder / f"{_file_name(name)}.yaml"
        document = self.config(_file_name(name), rule, base=base)
        config.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return config

    def state(self, name: str) -> RunState | None:
        """The end of a rule's run; None before."""
        run = RunDirectory(self.runs / _file_name(name))
        state = fold(run.read()) if run.exists else None
        return state if state and state.finished else None

    def held_out_scores(self, models: Iterable[Model], known: Sequence[Model]) -> dict[str, Scores]:
        """Scores on the held-out items by content id; what was scored before is reused.

        Args:
            known: all models of all runs, from which missing weights are merged again.
        """
        found = {m.content_id: scores for m in known if (scores := m.on("final"))}
        wanted = {m.content_id: replace(m, name=m.content_id) for m in models}
        missing = [model for each, model in wanted.items() if each not in found]
        if missing:
            workplace = Shared(self.crew.config, self.crew.run, self.crew)
            executor = workplace.executor(workplace.check(), known, SilentObserver())
            for event in executor.score_held_out(missing, "final"):
                if isinstance(event, HeldOutScored):
                    found[event.model] = event.scores
        return found

    def perplexities(self, models: Iterable[Model]) -> dict[str, dict[str, float]]:
        """The perplexities by content id; kept in `language.json`."""
        kept = self.specialists.folder / "language.json"
        found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        for model in models:
            if model.content_id not in found:
                found[model.content_id] = perplexities(self._weights(model))
                kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return found

    def _weights(self, model: Model) -> Path:
        if model.candidate is None:
            return self._foundation[model.name]
        return self._store.path(f"models/{model.content_id}")

    @cached_property
    def _foundation(self) -> dict[str, Path]:
        own = {folder.name: folder for folder in self.specialists.folders}
        return {BASE: self.specialists.base, **own}

    @cached_property
    def _store(self) -> Store:
        return Store(RunDirectory(self.runs / "any").store)


def children(state: RunState) -> Iterator[Model]:
    """The scored children of a run."""
    return (model for model in state.models.values() if model.generation and model.scores)


def evomerge(*arguments: object) -> None:
    """Run an evomerge command in a subprocess; an error ends the bench."""
    words = [str(each) for each in arguments]
    print(f"evomerge {' '.join(words)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "evomerge", *words], check=True)


def _file_name(name: str) -> str:
    return name.replace(",", "").replace(" ", "-").lower()
