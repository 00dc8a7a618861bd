"""The live view: its picture, its bookkeeping, and its manners on a terminal."""

from __future__ import annotations

import io
import logging
import sys
import threading

import pytest
from rich.cells import cell_len
from rich.console import Console

from evomerge.domain.events import ModelScored
from evomerge.domain.limits import Limits
from evomerge.domain.state import RunState, apply
from evomerge.terminal.activity import Activity, Job, seconds_left
from evomerge.terminal.dashboard import Dashboard, Scene, Section, allot
from evomerge.terminal.figures import clock
from evomerge.terminal.live import LiveReporter
from evomerge.terminal.plain import PlainReporter
from evomerge.terminal.screen import reporter
from evomerge.terminal.sentences import sentences

from .conftest import Story, drawn, first_generation


def scene(story: Story, *jobs: Job, slots: int = 1) -> Scene:
    """The scene at the end of a story."""
    state, events = RunState(), []
    for entry in story.entries:
        state = apply(state, entry)
        events.append((state.seconds, sentences(entry.event, state)[0]))
    return Scene(state, jobs, slots, tuple(events[-12:]), state.seconds, 33.0)


MERGING = Job("model-2-3", "merge", 2, 20, 1.0)
SCORING = Job("model-2-2", "score", 120, 400, 4.0)


def test_the_picture_is_complete_at_80_columns(working: Story) -> None:
    text = drawn(Dashboard(scene(working, SCORING, MERGING)), 80, 30)
    for part in (
        "tiny  kinship strategy, k 3, pcc",
        "generation 2  02:24",
        "best  model-2-1  55.10 ± 2.4  +10.85 over gamma (44.25)",
        "1/4           00:33 left",
        "120/400   30.0/s  00:09 left",
        "2/20    2.0/s  00:09 left",
        "model-1-2 × model-1-1",
        "scoring 30%",
        "merging 10%",
        "waiting",
        "02:22  scored    model-2-1  55.10",
    ):
        assert part in text, part


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("height", [5, 10, 16, 24, 50])
def test_the_picture_fits_at_every_moment(finished: Story, width: int, height: int) -> None:
    told = Story()
    for number, entry in enumerate(finished.entries):
        if number:
            told.tell(entry.event)
        text = drawn(Dashboard(scene(told, SCORING, MERGING, slots=3)), width, height)
        lines = text.splitlines()
        assert len(lines) <= max(4, height - 1)
        assert all(cell_len(line) <= width for line in lines), text


def budgeted(story: Story, **limits) -> Story:
    """The same story with a budget."""
    first = story.entries[0].event.model_copy(update={"budget": Limits(**limits)})
    told = Story()
    told.entries, told.state = [], RunState()
    for event in (first, *(entry.event for entry in story.entries[1:])):
        told.tell(event)
    return told


@pytest.mark.parametrize("height", [5, 10, 16, 24, 50])
def test_the_budget_has_a_bar_and_a_time_where_there_is_room(working: Story, height: int) -> None:
    told = budgeted(working, max_evaluations=20, max_hours=1000)
    text = drawn(Dashboard(scene(told, SCORING, MERGING)), 80, height)
    assert len(text.splitlines()) <= max(4, height - 1)
    if height < 10:
        return
    [bar] = [line for line in text.splitlines() if line.startswith("run ")]
    done = told.state.evaluations
    measured = done - told.state.reused_evaluations
    left = clock(told.state.seconds / measured * (20 - done))
    assert (f"{100 * done // 20} %" in bar, f"{left} left" in bar) == (True, True), bar


def test_a_high_terminal_shows_the_merges_before(working: Story) -> None:
    low, high = (drawn(Dashboard(scene(working, SCORING)), 100, rows) for rows in (18, 60))
    earlier = [m.name for m in working.state.at_generation(1)]
    table = high.split("generation 2 ")[-1]
    assert all(name in table for name in earlier)
    assert not all(f"\n{name} " in low for name in earlier)


def test_a_large_generation_shows_what_goes_on_first() -> None:
    names = [f"m{number:02}" for number in range(12)]
    story = Story(names)
    for number, name in enumerate(names):
        story.scored(name, 40 + number)
    story.measured()
    story.closed()
    story.proposed(*((a, b) for place, a in enumerate(names) for b in names[place + 1 :]))
    text = drawn(Dashboard(scene(story, Job("model-1-60", "merge", 1, 2))), 80, 24)
    assert "merging 50%" in text
    assert "more" in text


def test_names_with_markup_are_spelled() -> None:
    story = Story(("[red]x[/red]", "b"), k=2, name="[bold]n[/]")
    story.scored("[red]x[/red]", 40)
    text = drawn(Dashboard(scene(story, Job("[/]", "score", 1, 2))), 80, 30)
    assert "[red]x[/red]" in text
    assert "[bold]n[/]" in text
    assert "[/]" in text


def test_rows_go_to_the_first_sections_and_no_section_starves() -> None:
    sections = [Section(0, 2), Section(2, 3), Section(2, 9), Section(1, 6)]
    assert allot(25, sections) == [2, 3, 9, 6]
    assert allot(18, sections) == [2, 3, 7, 1]
    assert allot(4, sections) == [1, 1, 0, 0]
    assert allot(0, sections) == [0, 0, 0, 0]


def test_jobs_end_with_their_events(working: Story) -> None:
    clock = [0.0]
    activity = Activity(now=lambda: clock[0])
    activity.on_progress("model-2-2", "score", 1, 10)
    activity.on_progress("model-2-3", "merge", 1, 10)
    clock[0] = 5.0
    assert [(job.model, job.seconds) for job in activity.jobs()] == [
        ("model-2-2", 5.0),
        ("model-2-3", 5.0),
    ]
    assert activity.widest == 2
    activity.on_event(working.scored("model-2-2", 50.0))
    assert [job.model for job in activity.jobs()] == ["model-2-3"]
    activity.on_event(working.failed("model-2-3"))
    assert activity.jobs() == ()


def test_a_job_that_falls_back_began_anew() -> None:
    clock = [0.0]
    activity = Activity(now=lambda: clock[0])
    activity.on_progress("a", "merge", 9, 10)
    clock[0] = 100.0
    activity.on_progress("a", "merge", 0, 10)
    assert activity.jobs()[0].seconds == 0.0


def test_the_estimate_rests_on_measured_durations() -> None:
    story = first_generation(Story())
    activity = Activity(now=lambda: 0.0)
    for entry in story.entries:
        activity.on_event(entry.event)
    story.proposed(("model-1-2", "model-1-4"), ("model-1-2", "model-1-1"))
    story.merged("model-2-1")
    assert seconds_left(story.state, activity) == pytest.approx(12 + 2.5 + 12 + 0.8)


def test_without_any_ground_there_is_no_estimate() -> None:
    assert seconds_left(Story().state, Activity()) is None


def test_the_estimate_follows_a_first_job_at_its_pace() -> None:
    clock = [0.0]
    activity = Activity(now=lambda: clock[0])
    activity.on_progress("alpha", "score", 0, 100)
    clock[0] = 10.0
    activity.on_progress("alpha", "score", 50, 100)
    assert seconds_left(Story().state, activity) == pytest.approx(10 + 3 * 20)


def recording(width: int = 80) -> tuple[Console, io.StringIO]:
    """A terminal that remembers what was written to it."""
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=width, height=24, _environ={}), out


def test_a_whole_run_with_progress_and_logs_from_threads(finished: Story) -> None:
    console, out = recording()
    before = sys.stderr
    with LiveReporter(console) as view:
        state = RunState()
        for entry in finished.entries:
            state = apply(state, entry)
            if isinstance(entry.event, ModelScored):
                name = entry.event.model
                thread = threading.Thread(target=view.on_progress, args=(name, "score", 1, 2))
                thread.start()
                thread.join()
            view.on_event(entry.event, state)
            drawn(view.render(), 80, 24)
        sys.stderr.write("a stray line\n")
    assert sys.stderr is before
    text = out.getvalue()
    assert "a stray line" in text
    assert "finished: max_generations: 2 generations done" in text.split("a stray line")[1]
    assert "lineage of the best" in text


def test_handlers_made_before_write_above_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    console, out = recording()
    real = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", real)
    handler = logging.StreamHandler(real)
    logger = logging.getLogger("evomerge.test.live")
    logger.addHandler(handler)
    try:
        with LiveReporter(console):
            logger.warning("from a library [red]x[/red]")
        assert handler.stream is real
    finally:
        logger.removeHandler(handler)
    assert real.getvalue() == ""
    assert "from a library [red]x[/red]" in out.getvalue()


def test_an_exception_leaves_the_summary_and_the_terminal_as_it_was(working: Story) -> None:
    console, out = recording()

    def interrupted() -> None:
        with LiveReporter(console) as view:
            view.on_event(working.entries[-1].event, working.state)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    text = out.getvalue()
    assert "stopped in generation 2, 3 to score" in text
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l")  # the cursor is back


def test_before_the_first_event_there_is_a_picture_too() -> None:
    console, _ = recording()
    assert drawn(LiveReporter(console).render(), 80) == "00:00  starting\n"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_reporter_suits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(reporter(Terminal()), LiveReporter)
    assert isinstance(reporter(Terminal(), plain=True), PlainReporter)
    assert isinstance(reporter(io.StringIO()), PlainReporter)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(reporter(io.StringIO()), PlainReporter)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(reporter(Terminal()), PlainReporter)


def test_a_note_stops_the_clock_and_takes_the_jobs_away(working: Story) -> None:
    now = [0.0]
    view = LiveReporter(Console(file=io.StringIO()), now=lambda: now[0])
    view.on_event(working.entries[-1].event, working.state)
    view.behind(3.0)
    view.on_progress("model-2-2", "score", 10, 400, seconds=5.0)
    assert "02:27" in drawn(view.render(), 80)
    assert "2.0/s" in drawn(view.render(), 80)
    view.noted("not running; resume with: evomerge resume tiny")
    now[0] = 50.0
    text = drawn(view.render(), 80)
    assert "not running; resume with: evomerge resume tiny" in text
    assert "02:24" in text
    assert "10/400" not in text


def test_what_is_checked_is_shown_until_the_run_starts(working: Story) -> None:
    now = [0.0]
    view = LiveReporter(Console(file=io.StringIO()), now=lambda: now[0])
    assert drawn(view.render(), 80).split() == ["00:00", "starting"]
    view.checking("model birch (2 of 5)")
    now[0] = 61.0
    assert drawn(view.render(), 80).strip() == "01:01  checking model birch (2 of 5)"
    view.on_event(working.entries[-1].event, working.state)
    assert "checking" not in drawn(view.render(), 80)


def test_the_end_says_what_was_reused(finished: Story) -> None:
    stream = io.StringIO()
    view = PlainReporter(stream)
    state = RunState()
    for entry in finished.entries:
        state = apply(state, entry)
        view.on_event(entry.event, state)
    assert "reused    1 of 9 merges, 1 of 13 evaluations" in stream.getvalue()


def test_a_file_that_is_fetched_shows_bytes_rate_and_time_left() -> None:
    clock, whole = [0.0], 10_000_000_000
    view = LiveReporter(Console(file=io.StringIO()), now=lambda: clock[0])
    view.checking("model a: fetching 1 files")
    view.on_progress("a model.safetensors", "fetch", whole // 2, whole)  # goes on from here
    clock[0] = 10.0
    view.on_progress("a model.safetensors", "fetch", whole // 2 + 1_000_000_000, whole)
    shown = drawn(view.render(), 100, 10)
    assert "00:10  checking model a: fetching 1 files" in shown
    assert "a model.safetensors  6.00 of 10.00 GB  100.0 MB/s  40 s left" in shown
    view.on_progress("a model.safetensors", "fetch", whole, whole)
    assert "safetensors" not in drawn(view.render(), 100, 10)
