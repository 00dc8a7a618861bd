"""Perplexity and the guard's reason stand wherever a model is listed."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from evomerge.analysis.models import model_rows
from evomerge.comparison.compared import compare
from evomerge.comparison.members import member_of
from evomerge.config import EvaluationConfig
from evomerge.domain.events import ModelScored
from evomerge.store.checkpoints import checkpoint
from evomerge.terminal.card import model_card
from evomerge.terminal.comparison import ComparisonView
from evomerge.terminal.documents import model_brief, model_document, result_document
from evomerge.terminal.graph import members_of, mermaid
from evomerge.terminal.panel import model_panel
from evomerge.terminal.sentences import sentences
from evomerge.terminal.status import RunStatus, status_panel
from evomerge.terminal.summary import result_text, summary
from evomerge.terminal.tables import choices_table
from evomerge.terminal.tree import lineage_tree
from evomerge.views.models import models_of
from tests.unit.domain.test_guard import run

REASON = "perplexity 500.0 is above 1.3 × 20.00, that of a"


@pytest.fixture(scope="module")
def guarded():
    """A finished search that kept children out, its entries, and one of these children."""
    state, entries = run({"text": "default", "worse_than": 1.3})
    return state, entries, next(each for each in state.models.values() if each.kept_out)


def printed(*parts):
    console = Console(width=300, no_color=True, record=True, file=io.StringIO())
    for part in parts:
        console.print(part)
    return console.export_text()


def test_the_plain_lines_say_perplexity_and_why(guarded):
    state, entries, out = guarded
    event = next(
        each.event
        for each in entries
        if isinstance(each.event, ModelScored) and each.event.model == out.name
    )
    scored, kept_out = sentences(event, state)
    assert "perplexity 500.0" in scored.detail
    assert (kept_out.verb, kept_out.model, kept_out.detail) == ("kept out", out.name, REASON)
    assert "best so far" not in scored.detail


def test_status_and_the_end_of_a_run_say_the_bound_and_how_many(guarded):
    state, entries, _ = guarded
    said = (
        f"perplexity 20.00 of {state.best.name}, 20.00 of a, the lowest of the foundation models; "
        f"per token of the packaged text; {state.models.kept_out} children kept out above 26.00, "
        "1.3 × the lowest"
    )
    status = RunStatus.of("guarded", Path(), entries)
    for text in (printed(summary(state)), printed(status_panel(status)), result_text(state)):
        assert said in text
    pool = printed(status_panel(status)).partition("pool   ")[2]
    assert "perplexity" in pool.splitlines()[0]


def test_tables_trees_and_the_panel_of_a_model_say_why(guarded):
    state, entries, out = guarded
    (row,) = (row for row in models_of(entries, state) if row.name == out.name)
    assert (row.perplexity, row.status, row.reason) == (500.0, "kept out", REASON)
    for part in (model_panel(state, out.name), choices_table(state, {}, [out])):
        assert REASON in printed(part)
    assert "perplexity 500.0" in printed(lineage_tree(state, out.name))
    drawn = mermaid(state, members_of(state, out.name))
    assert "kept out" in drawn
    assert ":::failed" in drawn


def test_json_and_data_frames_have_both(guarded):
    state, entries, out = guarded
    brief = model_brief(out, state)
    assert (brief["perplexity"], brief["kept_out"]) == (500.0, REASON)
    assert model_document(state, out.name)["rank"] is None
    result = result_document(state)
    assert result["guard"] == {"text": "default", "worse_than": 1.3}
    assert result["kept_out"] == state.models.kept_out
    row = next(each for each in model_rows(entries, state) if each["model"] == out.name)
    assert (row["status"], row["perplexity"], row["reason"]) == ("kept out", 500.0, REASON)
    entry = checkpoint(state, state.generations[out.generation])["models"]
    assert next(each for each in entry if each["name"] == out.name)["kept_out"] == REASON


def test_compare_has_a_column_and_marks_the_merge(guarded):
    _, entries, _ = guarded
    other = run("default", seed=1)[1]
    comparison = compare([member_of("one", entries, {}), member_of("two", other, {"seed": 1})])
    text = printed(ComparisonView(comparison))
    assert "perplexity" in text
    assert " kept out" in text


def test_the_model_card_says_what_was_measured_and_that_it_was_kept_out(guarded):
    from evomerge.config import Config

    state, _, out = guarded
    config = Config.model_validate(
        {
            "run": {"name": "guarded"},
            "base_model": "base",
            "foundation_models": ["a", "b", "c"],
            "merge": {"method": "ties"},
            "evaluation": {
                "tasks": ["t"],
                "guard": {"text": "/home/me/own.txt", "worse_than": 1.3},
            },
        }
    )
    card = model_card(out, state, config, {}, "", "a title")
    assert "| perplexity per token | | | **500.0** | 20.00 |" in card
    assert "on the text own.txt, per token" in card
    assert "/home" not in card
    assert "The search kept it out: perplexity 500.0 is above 1.3 × 20.00, that of a." in card
    without = config.model_copy(
        update={"evaluation": EvaluationConfig.model_validate({"tasks": ["t"]})}
    )
    assert "kept it out" not in model_card(out, state, without, {}, "", "a title")
