"""The report as a page: whole, self-contained, escaped, the same every time."""

import json
import re
from html.parser import HTMLParser
from typing import get_args

import pytest

from evomerge.analysis.curves import stage_points
from evomerge.analysis.stages import stages
from evomerge.imagined.landscape import Landscape
from evomerge.imagined.recorded import replay, replay_config
from evomerge.report.charts import figures_of
from evomerge.report.reading import read_view
from evomerge.report.run_page import as_page, portable, write_report
from evomerge.store.recorded import keep, recorded_in
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import landscape_config, run_landscape
from evomerge.views.run import run_view


def page_of(view):
    return as_page(view, figures_of(view))


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.references, self.text = [], [], [], []
        self.scripts, self.kind = [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.kind = dict(attrs).get("type", "script") if tag == "script" else None
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            if key in {"src", "href", "xlink:href", "srcset", "action"}:
                self.references.append(value)
            assert not key.startswith("on"), f"{key} on {tag}"

    def handle_data(self, data):
        if self.kind is None:
            self.text.append(data)
        else:
            self.scripts.append((self.kind, data))

    def handle_endtag(self, tag):
        self.kind = None


@pytest.fixture(scope="module")
def page(paper):
    return page_of(paper.view)


def test_the_page_needs_nothing_else_and_is_small(page):
    assert len(page.encode()) < 3_000_000
    read = Reader(page)
    assert [kind for kind, _ in read.scripts].count("script") == 2
    specs = [json.loads(text) for kind, text in read.scripts if kind == "application/json"]
    assert len(specs) == read.tags.count("figure") == read.tags.count("svg") > 4
    assert not {"iframe", "img", "object"} & set(read.tags)
    for reference in read.references:
        assert reference.startswith(("#", "data:")), reference
    assert "@import" not in page.partition("<script")[0]
    assert "default-src 'none'" in page


def test_links_inside_the_page_lead_somewhere_and_ids_are_unique(page):
    read = Reader(page)
    assert len(read.ids) == len(set(read.ids))
    targets = {r[1:] for r in read.references if r.startswith("#")}
    assert targets <= set(read.ids)


def test_it_says_what_the_paper_has_and_what_it_lacks(page):
    text = "".join(Reader(page).text)
    for words in ("model-5-1", "69.13", "+2.85", "19 merges", "22", "recorded results, not a run",
                  "no standard errors", "model-4-exp, model-5-exp", "(assumed)"):  # fmt: skip
        assert words in text, words
    assert "object at 0x" not in text


def test_the_same_run_gives_the_same_page(paper, page):
    assert page_of(paper.view) == page


def test_hostile_names_stay_names(hostile):
    page = page_of(hostile.view)
    read = Reader(page)
    assert [kind for kind, _ in read.scripts].count("script") == 2
    assert read.tags.count("title") == 1
    assert "<script>alert" not in page
    assert "49" not in re.findall(r"ü.{0,3}(\d+)", page), "a name was taken for a template"
    assert '"><script>alert(1)</script>' in "".join(read.text)
    assert "$x^2$ & <b>" in "".join(read.text)


def test_a_long_run_stays_readable_and_small(long):
    page = page_of(long.view)
    assert len(page.encode()) < 3_000_000
    assert "models are not shown" in page
    assert page.count("<tr id=") == len(long.state.models)


def test_every_figure_has_its_files(paper, tmp_path):
    run = RunDirectory(tmp_path / "runs" / "paper")
    keep(run, paper.entries, recorded_in(paper.environment))
    path = write_report(run)
    names = set(figures_of(paper.view))
    assert names >= {"best-so-far", "family-tree", "kinship", "kinship-gain", "pool-kinship"}
    kinds = {"svg", "png", "csv"}
    found = {file.name for file in (run.path / "plots").iterdir()}
    assert found == {f"{name}.{kind}" for name in names for kind in kinds} | {"models.csv"}
    first, *rows = (run.path / "plots" / "models.csv").read_text().splitlines()
    assert first.endswith("imagined,imagined stderr,imagined kept")
    assert len(rows) == len(paper.state.models)
    assert (run.path / "plots" / "kinship.png").read_bytes().startswith(b"\x89PNG")
    assert path.read_text().count("<figure") == len(names)


def test_a_run_without_a_score_has_a_report_too(paper):
    from evomerge.domain.state import fold

    entries = paper.entries[:1]
    text = page_of(run_view("young", entries, fold(entries)))
    assert "no model is scored yet" in text


def test_a_run_with_an_open_generation_is_told_up_to_it(paper):
    from evomerge.domain.state import fold

    proposed = [i for i, e in enumerate(paper.entries) if e.event.type == "generation_proposed"]
    entries = paper.entries[: proposed[2] + 3]
    view = run_view("open", entries, fold(entries), environment=paper.environment)
    assert "Generation 3 is open" in page_of(view)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("stopping:\n- kinship_saturation: {threshold: 0.8}\n", (0.8, True)),
        ("stopping:\n- max_generations: 3\n", (0.9, False)),
        ("# nothing\n", (0.9, False)),
        (": [", (0.9, False)),
        ("stopping: [[], {kinship_saturation: x}]", (0.9, False)),
    ],
)
def test_the_saturation_threshold_is_the_config_s(paper, config, expected):
    view = run_view("x", paper.entries, paper.state, settings=config)
    assert view.saturation == expected


def test_the_stages_of_a_run_come_from_its_best_children(paper):
    found = stages(stage_points(paper.state))
    assert (found.learning.last, found.saturation.first) == (3, 4)


def test_a_child_that_gained_nothing_counts_among_the_gains():
    world = Landscape(
        format=1,
        name="w",
        foundation={"a": 50.0, "b": 60.0, "c": 70.0},
        children=[
            {"model": "ab", "parents": ("a", "b"), "score": 55.0},
            {"model": "ac", "parents": ("a", "c"), "score": 63.0},
            {"model": "bc", "parents": ("b", "c"), "score": 65.0},
        ],
    )
    one = replay_config(world, stopping=[{"max_generations": 1}])
    assert stage_points(replay(world, one).state)[1].gain == pytest.approx((0 + 3 + 0) / 3)


def test_held_out_scores_and_paired_tests_are_shown_where_a_run_made_them(paper):
    from evomerge.domain.difference import Difference, Gains, ModelComparison
    from evomerge.domain.events import GainsTested, HeldOutScored
    from evomerge.domain.scores import Scores, TaskScore
    from evomerge.domain.state import Entry, fold

    best = paper.state.best.name
    task = TaskScore(task="t", metric="acc", value=67.5, stderr=1.0, samples=90)
    scored = HeldOutScored(
        model=best, split="held_out", scores=Scores(evaluation_id="e", tasks=(task,)), seconds=1
    )
    difference = Difference(value=2.4, low=0.3, high=4.5, p=0.02, items=90, test="permutation")
    comparison = ModelComparison(
        a=best, b="Open-chat", relation="foundation", difference=difference, corrected=0.04
    )
    tested = GainsTested(gains=Gains(split="held_out", comparisons=(comparison,)))
    at = [Entry(at=0.0, event=event) for event in (scored, tested)]
    started = paper.state.start.model_copy(update={"held_out_splits": ("held_out",)})
    entries = (Entry(at=0.0, event=started), *paper.entries[1:-1], *at, paper.entries[-1])
    view = run_view("x", entries, fold(entries))
    assert (view.outcome.gain.value, view.outcome.gain.low, view.outcome.gain.high) == (
        2.4,
        0.3,
        4.5,
    )
    text = " ".join("".join(Reader(as_page(view, {})).text).split())
    for words in ("Held-out gain +2.40 points", "95 % interval [+0.3, +4.5]", "67.50 ± 2.0",
                  "+1.63", "0.040", "is better than Open-chat by 2.4 points"):  # fmt: skip
        assert words in text, words
    assert "object at 0x" not in text


def test_a_template_that_shows_a_method_is_a_bug():
    from evomerge.report.page import environment

    row = {"items": 90}
    assert environment().from_string("{{ row['items'] }}").render(row=row) == "90"
    with pytest.raises(TypeError, match="template"):
        environment().from_string("{{ row.items }}").render(row=row)


def test_every_kind_of_merge_has_a_look(tmp_path):
    """A report once failed on the runs of a strategy whose kind had no colour."""
    from dataclasses import replace

    from evomerge.domain.model import Colour, MergeKind
    from evomerge.report import palette
    from evomerge.strategies import OWN_KINDS
    from evomerge.terminal import graph

    assert set(palette._SHAPES) == set(graph._FILL_AND_STROKE) == set(get_args(Colour))
    assert len({kind.colour for kind in OWN_KINDS}) == len({kind.name for kind in OWN_KINDS}) == 4

    state = run_landscape(tmp_path, landscape_config(stopping=[{"max_generations": 1}]))
    child = next(model for model in state.models.values() if model.generation)
    seen = replace(state, models=state.models.changed(replace(child, kind="grafted")))
    neutral = palette.looks({}, ["grafted"])["grafted"]
    assert (neutral.label, neutral.colour) == ("grafted", palette.MUTED)
    assert "classDef grafted fill:#eef0f2" in graph.mermaid(seen, [child.name])

    grafted = MergeKind(name="grafted", label="graft", colour="sky")
    told = replace(seen, started=state.start.model_copy(update={"kinds": (grafted,)}))
    kinds = run_view("told", RunDirectory(tmp_path / "runs" / "landscape").read(), told).kinds
    look = palette.Look("graft", palette.SKY, "triangle-down")
    assert palette.looks(kinds, ["grafted"])["grafted"] == look
    assert "#e2f0fa" in graph.mermaid(told, [child.name])


@pytest.mark.parametrize("strategy", ["coefficient_search", "seed_grid"])
def test_a_run_over_all_models_at_once_is_shown(tmp_path, strategy):
    search = {} if strategy == "seed_grid" else {"search": {"algorithm": "random"}}
    config = landscape_config(
        strategy={"name": strategy, **search}, stopping=[{"max_evaluations": 20}]
    )
    state = run_landscape(tmp_path, config)
    assert {"grid"} <= {model.kind for model in state.models.values()}
    run = RunDirectory(tmp_path / "runs" / "landscape")
    view = read_view(run)
    figures = figures_of(view)
    assert {"coefficients", "coefficients-and-score"} <= set(figures)
    assert not {"family-tree", "kinship-gain"} & set(figures), "nothing descends from a merge"
    assert view.family is None
    assert view.merge_gains is None
    text = "".join(Reader(as_page(view, figures)).text)
    assert "The coefficients that were tried" in text
    assert "correlation" not in text.replace("Pearson correlation", "")


def test_folders_of_a_machine_are_not_told():
    text = "dir: /home/me/runs\nbase: '/data/models/base'\nhub: org/model\nurl: https://a.b/c/d"
    assert portable(text) == "dir: …/runs\nbase: '…/base'\nhub: org/model\nurl: https://a.b/c/d"
