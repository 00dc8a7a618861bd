"""The status of a run: running, stopped or finished, and how to resume it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from evomerge.domain.baseline import Baseline
from evomerge.domain.skills import lost_skills, skills_of
from evomerge.domain.state import Entry, RunState, fold
from evomerge.store.progress_file import Underway
from evomerge.terminal import figures
from evomerge.terminal.activity import DOING
from evomerge.terminal.columns import Fitted, numbers, words
from evomerge.terminal.figures import MISSING, printable, spelled
from evomerge.terminal.held_out import held_out_table
from evomerge.terminal.panel import Fact, facts_table
from evomerge.terminal.skills import lost_by_pool
from evomerge.terminal.summary import outcome_facts
from evomerge.terminal.tables import generations_table, pool_table, skipped_lines
from evomerge.views.outcome import gain_of
from evomerge.views.run import Phase, phase_of

_STYLES = {"running": "cyan", "stopped": "yellow", "finished": "green", "damaged": "red"}

_BEFORE_ANY_RUN = 1e9
"""Seconds since 1970 (in 2001). Only recorded results, whose clock starts at 0, are older."""


@dataclass(frozen=True)
class RunStatus:
    """A snapshot of one run.

    Attributes:
        holder: the process that drives it now; None if there is none.
        last_event: the type of the last event.
        damage: why the journal could not be read; the state is then empty.
        baseline: the result of merging all foundation models at once, if known.
        tasks: what is in progress.
    """

    name: str
    path: Path
    state: RunState
    holder: str | None = None
    last_event: str | None = None
    damage: str | None = None
    baseline: Baseline | None = None
    tasks: tuple[Underway, ...] = ()

    @classmethod
    def of(
        cls, name: str, path: Path, entries: Sequence[Entry], holder: str | None = None
    ) -> RunStatus:
        """Build the status of a run from the entries of its journal.

        Raises:
            ValueError: the sequence of entries is invalid.
        """
        events = [entry.event for entry in entries]
        last = events[-1].type if events else None
        return cls(name, path, fold(entries), holder, last)

    @property
    def phase(self) -> Phase:
        """Whether the run is running, finished, or stopped."""
        running, damaged = self.holder is not None, self.damage is not None
        return phase_of(self.state, running=running, damaged=damaged)

    @property
    def gain(self) -> float | None:
        """Gain of the best model over the best foundation model in points, held out if known."""
        if self.state.best is None:
            return None
        gain = gain_of(self.state, self.state.best)
        return 0.0 if gain is None else gain.value

    @property
    def generation(self) -> int | None:
        """The last proposed generation; None for a run without events."""
        return len(self.state.generations) - 1 if self.state.generations else None


def status_panel(
    status: RunStatus, resume: str | None = None, now: float | None = None
) -> RenderableType:
    """A run's settings, progress, best model, pool and generations.

    Args:
        resume: the command that resumes the run, if it is stopped.
        now: seconds since 1970.
    """
    state = status.state
    title = Text.assemble((printable(status.name), "bold"), "  ")
    title.append(status.phase, _STYLES[status.phase])
    if status.holder is not None:
        title.append(f"  {printable(status.holder)}", "dim")
    if state.started is None:
        return Group(title, Text("nothing is recorded yet", style="dim"))
    facts: list[Fact] = [
        ("run", Text(printable(_settings(state)))),
        ("generation", Text(printable(_progress(state)))),
        *outcome_facts(state, status.baseline),
        ("last event", Text(_last_event(status, time.time() if now is None else now))),
    ]
    if hosts := _hosts(status):
        facts.append(("hosts", Text("\n".join(hosts))))
    if lost := lost_skills(state):
        facts.append(("coverage", Text(printable(lost_by_pool(lost)), "yellow")))
    if state.skipped:
        facts.append(("skipped", skipped_lines(state)))
    if resume is not None:
        facts.append(("resume with", Text(resume, style="bold")))
    parts: list[RenderableType] = [title, facts_table(facts)]
    if state.pool:
        parts += ["", pool_table(state)]
    if state.held_out_evaluations:
        parts += ["", held_out_table(state)]
    if any(generation.pool is not None for generation in state.generations):
        parts += ["", generations_table(state)]
    return Group(*parts)


def runs_table(statuses: Sequence[RunStatus]) -> Fitted:
    """The runs of a folder, one row each."""
    states = [each.state for each in statuses]
    bests = [state.best for state in states]
    gains = [each.gain for each in statuses]
    name = words("run", (spelled(s.name, "bold") for s in statuses))
    phase = words("state", (spelled(s.phase, _STYLES[s.phase]) for s in statuses))
    strategy = words("strategy", (s.started.strategy if s.started else MISSING for s in states))
    generation = numbers(
        "gen", (MISSING if s.generation is None else str(s.generation) for s in statuses)
    )
    best = words("best", (MISSING if model is None else model.name for model in bests))
    score = numbers(
        "score", (MISSING if model is None else figures.score(model) for model in bests)
    )
    gain = numbers("gain", (spelled(figures.gain(g), figures.gain_style(g)) for g in gains))
    kept = [skills_of(state) if state.started else None for state in states]
    skills = numbers(
        "skills", (MISSING if each is None else f"{each.kept}/{len(each.tasks)}" for each in kept)
    )
    spent = numbers("time", (figures.duration(state.seconds) for state in states))
    merges = numbers("merges", (str(state.merges) for state in states))
    failed = numbers("failed", (str(state.models.failures) for state in states))
    return Fitted(
        [name, phase, strategy, generation, best, score, gain, skills, merges, failed, spent],
        [name, phase, strategy, generation, best, score, gain, skills, spent],
        [name, phase, generation, score, gain, skills],
    )


def _settings(state: RunState) -> str:
    start = state.start
    foundation = figures.count(len(start.foundation), "foundation model")
    return (
        f"{start.strategy} strategy, k {start.k}, kinship {start.metric.value}, "
        f"seed {start.seed}, {foundation}, base {start.base.name}"
    )


def _progress(state: RunState) -> str:
    number = len(state.generations) - 1
    if state.stop is not None:
        return f"{number}; stop: {state.stop}"
    born = state.at_generation(number)
    done = sum(m.scores is not None or m.failure is not None for m in born)
    what = "models" if number else "foundation models"
    return f"{number}, {done} of {len(born)} {what} done"


def _hosts(status: RunStatus) -> list[str]:
    """What each machine of the run has done and does; empty if all of it was the driver's."""
    models = status.state.models.values()
    merged = Counter(model.merged_on for model in models)
    scored = Counter(model.scored_on for model in models)
    doing = defaultdict(list)
    for task in status.tasks:
        doing[task.host].append(f"{DOING.get(task.activity, task.activity)} {task.model}")
    return [
        printable(f"{host}: {merged[host]} merged, {scored[host]} scored")
        + printable(f"; now {', '.join(doing[host])}" if doing[host] else "")
        for host in sorted({*merged, *scored, *doing} - {""})
    ]


def _last_event(status: RunStatus, now: float) -> str:
    if status.state.last_at is None or status.last_event is None:
        return MISSING
    if status.state.last_at < _BEFORE_ANY_RUN:
        return status.last_event
    ago = figures.duration(max(0.0, now - status.state.last_at))
    return f"{status.last_event}, {ago} ago"
