"""One line per event."""

from __future__ import annotations

import io

from evomerge.domain.events import RunResumed
from evomerge.domain.state import RunState, apply
from evomerge.terminal.plain import PlainReporter

from .conftest import Story, first_generation


def told(story: Story, stream: io.TextIOBase | None = None) -> str:
    """What the reporter writes of a whole story."""
    out = stream or io.StringIO()
    reporter = PlainReporter(out)  # type: ignore[arg-type]
    state = RunState()
    with reporter:
        for entry in story.entries:
            state = apply(state, entry)
            reporter.on_event(entry.event, state)
    return out.getvalue() if isinstance(out, io.StringIO) else ""


def line_with(text: str, *parts: str) -> str:
    """The one line that holds all parts."""
    (found,) = [line for line in text.splitlines() if all(part in line for part in parts)]
    return found


def test_a_score_line(finished: Story) -> None:
    assert line_with(told(finished), "scored", "model-2-1") == (
        "[02:22] gen 2  scored    model-2-1    55.10 ± 2.4  over parents +5.60  "
        "(reverse 63.1, sort 47.1, copy 58.1, count 52.1)  12 s  best so far"
    )


def test_lines_are_aligned(finished: Story) -> None:
    lines = [line for line in told(finished).splitlines() if " gen 2  scored " in line]
    assert len(lines) == 4
    assert len({line.index("±") for line in lines}) == 1


def test_what_was_reused_is_marked(finished: Story) -> None:
    text = told(finished)
    assert line_with(text, "merged", "model-1-2").endswith("reused")
    assert "  reused  best so far" in line_with(text, "scored", "model-1-2")


def test_a_proposal_says_why_each_merge_was_chosen(finished: Story) -> None:
    text = told(finished)
    assert line_with(text, "gen 2  proposed").endswith("4 merges (3 greedy, 1 exploration)")
    line = line_with(text, "merge ", "model-2-exp")
    assert "model-1-2 × delta" in line
    assert "kinship  0.56" in line
    assert line.endswith(
        "(exploration: model-1-2 is the best model, delta its least related of 3 candidates)"
    )


def test_a_failure_is_one_line_with_its_reason() -> None:
    story = Story()
    for name in ("alpha", "beta"):
        story.scored(name, 40)
    story.closed()
    story.proposed(("alpha", "beta"))
    story.failed("model-1-1", "Killed\nby the \x1b[31mkernel")
    line = line_with(told(story), "FAILED")
    assert line.endswith("model-1-1  merge failed after 2 attempts: Killed by the [31mkernel")


def test_a_generation_ends_with_its_pool(finished: Story) -> None:
    assert line_with(told(finished), "gen 1  done").endswith(
        "pool model-1-2, model-1-4, model-1-1; best model-1-2 52.00 ± 2.4; mean kinship 0.62"
    )


def test_the_end_has_the_best_model_and_the_summary(finished: Story) -> None:
    text = told(finished)
    assert "model-2-exp  58.40 ± 2.4  +14.15 over gamma" in line_with(text, "run    finished")
    assert "lineage of the best" in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "\x1b" not in text


def test_a_resumed_run_says_where_it_is() -> None:
    story = first_generation(Story())
    story.tell(RunResumed(drift=("torch 2.1 at the start, 2.2 now",)), after=9000)
    line = line_with(told(story), "resumed")
    assert line.startswith("[02:06] run ")  # the pause does not count
    assert "9 models scored so far, 0 open in generation 1" in line
    assert "torch 2.1 at the start, 2.2 now" in line


def test_names_with_markup_are_spelled() -> None:
    story = Story(("[red]x[/red]", "b"), k=2)
    story.scored("[red]x[/red]", 40)
    assert "[red]x[/red]  40.00" in line_with(told(story), "scored")


def test_long_work_is_mentioned_once_per_heartbeat() -> None:
    stream, clock = io.StringIO(), [0.0]
    reporter = PlainReporter(stream, heartbeat=600, now=lambda: clock[0])
    story = Story()
    reporter.on_event(story.entries[0].event, story.state)
    for second in range(0, 1500, 10):
        clock[0] = float(second)
        reporter.on_progress("alpha", "score", second, 1500)
    lines = [line for line in stream.getvalue().splitlines() if "working" in line]
    assert lines == [
        "[10:00] gen 0  working   alpha  score 40 %  (600 of 1500)",
        "[20:00] gen 0  working   alpha  score 80 %  (1200 of 1500)",
    ]


def test_progress_without_a_known_end_is_no_error() -> None:
    clock = [0.0]
    stream = io.StringIO()
    reporter = PlainReporter(stream, heartbeat=1, now=lambda: clock[0])
    for second in range(5):
        clock[0] = float(second)
        reporter.on_progress("alpha", "score", second, 0)
    assert "score 4" in stream.getvalue()


def test_a_stream_that_knows_ascii_only(finished: Story) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    told(finished, stream)
    assert b"58.40 +- 2.4" in raw.getvalue()
    assert b"model-1-2 x delta" in raw.getvalue()


def test_a_reader_that_went_away_does_not_end_the_run(finished: Story) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    told(finished, Gone())
