"""The frame of the live view: a pure function of a `Scene`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from evomerge.analysis.budget import BudgetUse, budget_use
from evomerge.domain.model import Model
from evomerge.domain.state import RunState
from evomerge.terminal import figures
from evomerge.terminal.activity import DOING, Job
from evomerge.terminal.budget import budget_text
from evomerge.terminal.figures import spelled
from evomerge.terminal.sentences import Sentence
from evomerge.terminal.summary import best_text
from evomerge.terminal.tables import choices_table, pool_table

_EVENTS = 6
_LOW = 10  # lines of a terminal in which the budget has no bar
_BAR = (10, 40)


@dataclass(frozen=True)
class Scene:
    """The data of one frame.

    Attributes:
        slots: rows reserved for jobs, so that the layout does not move.
        events: (time in seconds, sentence), oldest first.
        elapsed: seconds spent on the run.
        left: seconds to the end of the generation; None where unknown.
        note: a notice for the user, for example that no driver is running.
    """

    state: RunState
    jobs: tuple[Job, ...] = ()
    slots: int = 1
    events: tuple[tuple[float, Sentence], ...] = ()
    elapsed: float = 0.0
    left: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the frame whose number of rows can shrink.

    Attributes:
        overhead: rows around the content: a blank line, a header.
        wish: rows that the whole content needs.
    """

    overhead: int
    wish: int


class Dashboard:
    """A scene fitted to the width and height of the terminal."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        scene, state = self._scene, self._scene.state
        last = state.generations[-1].number
        height = options.height or console.size.height
        use = budget_use(state, scene.elapsed) if height >= _LOW else None
        # the two lines of the header, the rule, the bars of the generation and the budget
        fixed = 4 + bool(scene.note) + (use is not None)
        sections = [
            Section(0, max(scene.slots, len(scene.jobs))),
            Section(2, len(state.pool)),
            Section(2, len(state.at_generation(last))),
            Section(1, min(_EVENTS, len(scene.events))),
        ]
        rows = height - 1 - fixed
        given = allot(rows, sections)
        jobs, pool, choices, events = given
        if choices:  # what is left shows the merges before
            choices += max(0, rows - taken(given, sections))
        yield header(scene)
        yield Text.assemble(("best  ", "dim"), best_text(state), no_wrap=True, overflow="ellipsis")
        if scene.note:
            yield spelled(scene.note, "yellow")
        yield Rule(style="dim")
        yield work(scene, use, jobs, options.max_width)
        if pool:
            yield ""
            yield pool_table(state, rows=pool)
        if choices:
            yield ""
            yield from _choices(scene, choices)
        if events:
            yield ""
            yield last_events(scene.events[-events:])


def allot(rows: int, sections: Sequence[Section]) -> list[int]:
    """Rows of content for each section, allotted in the order of `sections`.

    Every section that fits gets one row before any gets more; a section that does not fit gets
    no rows and no overhead.
    """
    given = []
    for section in sections:
        fits = section.wish > 0 and rows > section.overhead
        given.append(1 if fits else 0)
        rows -= section.overhead + 1 if fits else 0
    for place, section in enumerate(sections):
        if given[place]:
            more = min(section.wish - 1, max(0, rows))
            given[place] += more
            rows -= more
    return given


def taken(given: Sequence[int], sections: Sequence[Section]) -> int:
    """The rows that sections take with what they were given."""
    pairs = zip(given, sections, strict=True)
    return sum(rows + section.overhead for rows, section in pairs if rows)


def header(scene: Scene) -> RenderableType:
    """The run (name, strategy, metric) and its progress (generation, elapsed time)."""
    start = scene.state.start
    left = spelled(start.name, "bold")
    about = f"{start.strategy} strategy, k {start.k}, {start.metric.value}"
    left.append(f"  {figures.printable(about)}", "dim")
    generation = len(scene.state.generations) - 1
    where = f"generation {generation}" if generation else "foundation models"
    grid = Table.grid(expand=True, padding=(0, 0, 0, 2), pad_edge=False)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    used = budget_text(scene.state)
    left.append(f"  {used}" if used else "", "dim")
    grid.add_row(left, Text(f"{where}  {figures.clock(scene.elapsed)}"))
    return grid


def work(scene: Scene, use: BudgetUse | None, rows: int, width: int) -> RenderableType:
    """The bars of the budget, the generation and each job, padded so that nothing moves."""
    state = scene.state
    born = state.at_generation(state.generations[-1].number)
    done = sum(m.scores is not None or m.failure is not None for m in born)
    jobs = scene.jobs[:rows]
    whole = f"generation {state.generations[-1].number}"
    names = [whole, *(figures.printable(job.model) for job in jobs)]
    name_width = min(max(map(cell_len, names)), max(12, width // 3))
    bar_width = min(_BAR[1], max(_BAR[0], width - name_width - 47))
    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True, width=7)
    grid.add_column(no_wrap=True, width=name_width, overflow="ellipsis")
    grid.add_column(width=bar_width)
    grid.add_column(no_wrap=True, justify="right", width=9)
    grid.add_column(no_wrap=True, justify="right", width=7)
    grid.add_column(no_wrap=True)
    if use is not None:
        left = None if scene.note or state.stop else use.left
        _bar(grid, Job("budget", "run", round(100 * use.share), 100), bar_width, left, "%")
    _bar(grid, Job(whole, "models", done, len(born)), bar_width, scene.left)
    for job in jobs:
        _bar(grid, job, bar_width, job.left)
    for _ in range(rows - len(jobs)):
        grid.add_row(Text("·", style="dim"))
    return grid


def _bar(grid: Table, job: Job, width: int, left: float | None, unit: str = "") -> None:
    done, total = job.done, job.total
    doing = DOING.get(job.activity, job.activity)
    rate = "" if job.rate is None else figures.rate(job.rate)
    bar = ProgressBar(
        total=total or None,
        completed=min(done, total),
        width=width,
        complete_style="cyan",
        finished_style="green",
        pulse=total <= 0,
    )
    counted = f"{done} {unit}" if unit else figures.progress(done, total)
    ends = "" if left is None or done >= total > 0 else f"{figures.clock(left)} left"
    last = "  ".join(filter(None, (ends, f"on {figures.printable(job.host)}" * bool(job.host))))
    name = spelled(job.model)
    pace = spelled(rate, "dim")
    grid.add_row(spelled(doing, "dim"), name, bar, spelled(counted), pace, spelled(last, "dim"))


def _choices(scene: Scene, rows: int) -> RenderResult:
    """The merges of the generation; if not all fit, those in progress and the best ones.

    Where there is room, those of earlier generations follow, the latest first.
    """
    state = scene.state
    busy = {job.model: job for job in scene.jobs}
    born = state.at_generation(state.generations[-1].number)
    shown: Sequence[Model] = born
    if len(born) > rows:
        shown = sorted(born, key=lambda m: (m.name not in busy, m.scores is None, -(m.score or 0)))
        shown = shown[: max(1, rows - 1)]
    elif state.generations[-1].number:
        shown = [*born, *islice(_earlier(state), rows - len(born))]
    outcomes = {name: _outcome(job) for name, job in busy.items()}
    yield choices_table(state, outcomes, shown)
    if rows > 1 and len(shown) < len(born):
        yield Text(f"and {len(born) - len(shown)} more", style="dim")


def _earlier(state: RunState) -> Iterator[Model]:
    """The merges of the generations before the last, the latest generation first."""
    for generation in state.generations[-2:0:-1]:
        yield from state.at_generation(generation.number)


def _outcome(job: Job) -> Text:
    share = "" if job.share is None else f" {job.share:.0%}"
    return spelled(f"{DOING.get(job.activity, job.activity)}{share}", "yellow")


def last_events(events: Sequence[tuple[float, Sentence]]) -> RenderableType:
    """The most recent events, one line each."""
    clocks = [figures.clock(at) for at, _ in events]
    clock_width = max(map(len, clocks))
    verb_width = max(len(sentence.verb) for _, sentence in events)
    lines = []
    for clock, (_, sentence) in zip(clocks, events, strict=True):
        line = spelled("")
        line.append(f"{clock:>{clock_width}}  ", "dim")
        line.append(f"{sentence.verb:<{verb_width}}  ", sentence.style or "dim")
        line.append(f"{figures.printable(sentence.model)}  " if sentence.model else "")
        lines.append(line.append(figures.printable(sentence.detail), "dim"))
    return Group(*lines)
