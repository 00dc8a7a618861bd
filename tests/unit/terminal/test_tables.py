"""Pool, generations, choices, lineage, panels and summaries, as a terminal shows them."""

from __future__ import annotations

import json

import pytest
from rich.cells import cell_len
from rich.console import RenderableType

from evomerge.domain.kinship import Metric
from evomerge.domain.state import RunState
from evomerge.terminal.documents import result_document
from evomerge.terminal.panel import model_panel
from evomerge.terminal.summary import result_text, summary
from evomerge.terminal.tables import choices_table, generations_table, pool_table
from evomerge.terminal.tree import lineage_tree

from .conftest import Story, drawn, whole_run

WIDTHS = (40, 80, 200)
MARKUP = ("[red]x[/red]", "[/]", "mistralai/Mistral-7B-Instruct-v0.2-of-some-length", "\x1b[2Jδ")


def everything(state: RunState) -> list[RenderableType]:
    return [
        pool_table(state),
        generations_table(state),
        choices_table(state, {}),
        summary(state),
        *(model_panel(state, name) for name in state.models),
        *(lineage_tree(state, name) for name in state.models),
    ]


def deep_run() -> Story:
    story = Story(("a", "b"), k=2)
    story.scored("a", 40)
    story.scored("b", 41)
    for number in range(1, 41):
        story.closed()
        names = list(story.state.models)
        story.proposed((names[-1], names[-2]))
        story.scored(f"model-{number}-1", 41 + number / 2)
    return story


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("names", [("alpha", "beta", "gamma", "delta"), MARKUP])
def test_no_line_is_wider_than_the_terminal(width: int, names: tuple[str, ...]) -> None:
    state = whole_run(Story(names, name="[bold]run[/]")).state
    for renderable in everything(state):
        text = drawn(renderable, width)
        assert all(cell_len(line) <= width for line in text.splitlines()), text


def test_names_are_spelled_not_read_as_markup() -> None:
    state = whole_run(Story(MARKUP, name="[bold]run[/]", tasks=("[b]t[/b]", "s"))).state
    text = "".join(drawn(renderable, 200) for renderable in everything(state))
    for name in ("[red]x[/red]", "[/]", "[bold]run[/]", "[b]t[/b]", "[2Jδ"):
        assert name in text
    assert "\x1b" not in text


def test_the_pool_shows_what_fits(finished: Story) -> None:
    narrow, wide = (drawn(pool_table(finished.state), width) for width in (80, 200))
    best = narrow.splitlines()[1].split()
    assert best == [
        "model-2-exp",
        "58.40",
        "±",
        "2.4",
        "+14.40",
        "66.4",
        "50.4",
        "61.4",
        "55.4",
        "0.56",
    ]
    assert "66.4 ± 4.7" in wide
    assert "model-1-2 × delta" in wide
    assert len(wide.splitlines()) == 1 + finished.state.k


def test_numbers_are_aligned(finished: Story) -> None:
    lines = drawn(pool_table(finished.state), 80).splitlines()[1:]
    assert len({line.index("±") for line in lines}) == 1


def test_generations_show_the_best_child_and_the_kinship_of_the_pool(finished: Story) -> None:
    rows = [line.split() for line in drawn(generations_table(finished.state), 80).splitlines()]
    assert rows[1] == ["0", "4", "0", "gamma", "44.25", "44.25", "0.03"]
    assert rows[2][:6] == ["1", "6", "1", "model-1-2", "52.00", "52.00"]
    assert rows[3][:6] == ["2", "4", "0", "model-2-exp", "58.40", "58.40"]


def test_an_open_generation_has_no_row_yet(working: Story) -> None:
    assert len(drawn(generations_table(working.state), 80).splitlines()) == 3


def test_choices_tell_what_became_of_each(working: Story) -> None:
    text = drawn(choices_table(working.state, {}), 80)
    assert "model-1-2 × model-1-4" in text
    assert "55.10 ± 2.4  +5.60" in text
    assert "merged" in text
    assert "waiting" in text
    assert "exploration" in text


def test_a_lineage_ends_at_foundation_models(finished: Story) -> None:
    text = drawn(lineage_tree(finished.state, "model-2-exp"), 80)
    first, *rest = text.splitlines()
    assert first.split() == [
        "model-2-exp",
        "58.40",
        "±",
        "2.4",
        "over",
        "parents",
        "+14.40",
        "kinship",
        "0.56",
        "exploration",
    ]
    assert [line.split()[-1] for line in rest] == [
        "greedy",
        "foundation",
        "foundation",
        "foundation",
    ]


def test_an_ancestor_that_appears_again_is_drawn_once() -> None:
    lines = drawn(lineage_tree(deep_run().state, "model-40-1"), 200).splitlines()
    assert len(lines) == 1 + 2 * 40
    assert sum("as above" in line for line in lines) == 38


def test_a_panel_tells_a_models_story(finished: Story) -> None:
    text = drawn(model_panel(finished.state, "model-2-exp"), 120)
    for part in (
        "exploration, generation 2",
        "model-1-2 × delta",
        finished.state.models["model-2-exp"].content_id,
        "slerp, bfloat16, mergekit 0.1.5",
        '"filter":"mlp"',
        "58.40 ± 2.4  1 of 13, in the pool",
        "+14.40",
        "its least related of 3 candidates",
        "66.4 ± 4.7",
    ):
        assert part in text


def test_a_panel_tells_a_failure_on_one_line() -> None:
    story = Story()
    story.closed()
    for name in ("alpha", "beta"):
        story.scored(name, 40)
    story.proposed(("alpha", "beta"))
    story.failed("model-1-1", "OutOfMemoryError\n  at layer 3 [/red]\x1b[31m")
    text = drawn(model_panel(story.state, "model-1-1"), 100)
    assert "in merge, after 2 attempts" in text
    assert "OutOfMemoryError at layer 3 [/red] [31m" in text


def test_scores_without_standard_errors_and_undefined_kinship() -> None:
    story = Story(("a", "b"), k=2, tasks=("only",), metric=Metric.EUCLIDEAN)
    story.scored("a", 40, stderr=None)
    story.scored("b", 41, stderr=None)
    assert "±" not in drawn(summary(story.state), 80)
    story = Story(("a", "b"), k=2)
    story.scored("a", 40)
    story.scored("b", 41)
    story.measured(None)
    story.closed()
    assert drawn(generations_table(story.state), 80).splitlines()[1].split()[-3:] == [
        "–",
        "b,",
        "a",
    ]


def test_the_summary_of_a_finished_run(finished: Story) -> None:
    text = drawn(summary(finished.state), 80)
    assert "finished: max_generations: 2 generations done" in text
    assert "model-2-exp  58.40 ± 2.4  +14.15 over gamma (44.25)" in text
    assert "2 generations, 9 merges, 13 evaluations, 1 failed, 3 min" in text
    assert "lineage of the best" in text


def test_a_summary_at_any_point_of_a_run(finished: Story) -> None:
    assert "nothing is recorded yet" in drawn(summary(RunState()), 80)
    told = Story()
    for number, entry in enumerate(finished.entries):
        if number:
            told.tell(entry.event)
        assert drawn(summary(told.state), 80).startswith("tiny  ")
    assert "no model is scored yet" in drawn(summary(Story().state), 80)
    assert "stopped in generation 0, 4 to score" in drawn(summary(Story().state), 80)


def test_the_result_is_a_line_each(finished: Story) -> None:
    assert result_text(finished.state).splitlines() == [
        "best     model-2-exp  58.40 ± 2.4  +14.15 over gamma (44.25)",
        "held-out scores are measured on the selection items (evaluation.split is none)",
        "skills   4 of 4 kept, selection items",
        "work     2 generations, 9 merges, 13 evaluations, 1 failed, 3 min",
        "reused   1 of 9 merges, 1 of 13 evaluations",
        "lineage  ((alpha × gamma) × delta)",
        "stop     max_generations: 2 generations done",
    ]
    assert result_text(Story().state) == "no model is scored yet"


def test_a_deep_lineage_is_not_spelled_out() -> None:
    assert "lineage  41 ancestors: evomerge tree tiny" in result_text(deep_run().state)


def test_the_result_as_a_document(finished: Story) -> None:
    found = result_document(finished.state)
    assert found["state"] == "finished"
    assert found["best"]["score"] == finished.state.models["model-2-exp"].score
    assert [model["name"] for model in found["lineage"]] == [
        "model-2-exp",
        "model-1-2",
        "delta",
        "alpha",
        "gamma",
    ]
    assert result_document(Story().state)["lineage"] == []
    json.dumps(found)
