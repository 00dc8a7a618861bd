"""What a comparison says of runs, against what their journals hold."""

import json
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from evomerge.cli import cli
from evomerge.comparison.arms import Spread
from evomerge.comparison.budgets import best_within
from evomerge.comparison.compared import compare
from evomerge.comparison.divergence import divergence, families
from evomerge.comparison.exploration import exploration_of
from evomerge.comparison.members import member_of, prices
from evomerge.domain.errors import IncomparableError, UsageError
from evomerge.domain.events import ModelScored
from evomerge.domain.state import fold
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.comparison import ComparisonView


@pytest.fixture(scope="module")
def members(journals):
    known = prices(journals.values())
    return {name: member_of(name, entries, {}, known) for name, entries in journals.items()}


@pytest.fixture(scope="module")
def comparison(members):
    return compare([*members.values()])


def test_a_course_is_what_the_journal_told(members, journals):
    for name, member in members.items():
        state = fold(journals[name])
        assert len(member.course) == state.evaluations
        assert member.best.name == state.best.name
        assert member.course[-1].merges == state.merges
        assert all(a.best.score <= b.best.score for a, b in pairwise(member.course))
        assert all(a.work <= b.work for a, b in pairwise(member.course))


def test_reused_work_is_counted_at_its_price(members, journals):
    later = members["kinship-1"]
    assert later.reused > 0
    alone = member_of("kinship-1", journals["kinship-1"], {})
    assert alone.course[-1].work is None, "without the run that made it, nobody knows the price"
    made = sum(
        e.event.seconds
        for e in journals["kinship-1"]
        if e.event.type == "kinship_measured" or not getattr(e.event, "reused", True)
    )
    assert later.course[-1].work > made


def test_seeds_are_repeats_of_an_arm(comparison):
    assert [arm.label for arm in comparison.arms] == ["greedy", "kinship"]
    assert [[m.seed for m in arm.members] for arm in comparison.arms] == [[1, 2], [1, 2]]
    for arm in comparison.arms:
        scores = [m.score for m in arm.members]
        assert (arm.score.low, arm.score.high) == (min(scores), max(scores))
        assert arm.median.score == min(scores)


def test_labels_name_the_settings_that_differ(journals):
    settings = {"strategy.name": "kinship", "run.seed": 1, "strategy.k": 3}
    one = member_of("a", journals["kinship-1"], settings)
    two = member_of("b", journals["kinship-2"], {**settings, "run.seed": 2})
    three = member_of("c", journals["kinship-2"], {**settings, "strategy.k": 4})
    assert [arm.label for arm in compare([one, two]).arms] == ["kinship"]
    assert [arm.label for arm in compare([one, three]).arms] == [
        "k 3",
        "k 4",
    ]
    other = {"strategy.name": "greedy", "strategy.k": 4, "merge.method": "wudi"}
    four = member_of("d", journals["greedy-1"], {**settings, **other})
    five = member_of("e", journals["greedy-2"], {**settings, "merge.method": "slerp"})
    assert [arm.label for arm in compare([four, five]).arms] == [
        "greedy, k 4, wudi",
        "kinship, k 3, slerp",
    ]


@pytest.mark.parametrize(
    ("changed", "label"),
    [
        ({"stopping": [{"max_evaluations": 18}, {"no_improvement": {"patience": 2}}]},
         "max evaluations 18"),
        ({"stopping": [{"max_evaluations": 12}]}, "without no improvement"),
        ({"stopping": [{"max_evaluations": 12}, {"no_improvement": {"patience": 3}}]},
         "no improvement patience 3"),
        ({"merge.method": "ties", "merge.parameters.density": 0.2}, "ties"),
        ({"merge.parameters.density": list(range(40))}, "own parameters density"),
        ({f"evaluation.{name}": 2 for name in "abcd"},
         "a 2, b 2, c 2, 1 more"),
    ],
)  # fmt: skip
def test_a_label_is_what_differs_in_words(journals, changed, label):
    settings = {
        "strategy.name": "kinship",
        "merge.method": "dare_ties",
        "merge.parameters.density": 0.5,
        "stopping": [{"max_evaluations": 12}, {"no_improvement": {"patience": 2}}],
        **{f"evaluation.{name}": 1 for name in "abcd"},
    }
    one = member_of("a", journals["kinship-1"], settings)
    two = member_of("b", journals["kinship-2"], {**settings, **changed})
    assert compare([one, two]).arms[1].label == label


def searching_for(objective, entries):
    first = entries[0]
    started = first.event.model_copy(update={"objective": objective})
    return [first.model_copy(update={"event": started}), *entries[1:]]


def test_runs_of_different_objectives_are_judged_by_that_of_the_first(journals):
    mean = member_of("mean", journals["greedy-1"], {})
    worst = member_of("worst", searching_for("worst", journals["kinship-2"]), {})
    plain = member_of("plain", journals["kinship-2"], {})
    found = compare([mean, worst])
    judged = found.members[1]
    assert found.objective == "mean"
    assert judged.best.name == worst.best.name, "its winner stays the one that it searched for"
    assert judged.score == plain.state.models[judged.best.name].score <= plain.score
    assert found.arms[0].median.score == mean.score
    (said,) = [each for each in found.caveats if "searched for" in each]
    assert said.startswith("worst searched for the score on the weakest task; here every score is")
    turned = compare([worst, mean])
    weakest = min(task.value for task in turned.arms[1].median.best.scores.tasks)
    assert turned.objective == "worst"
    assert turned.arms[1].median.score == weakest
    assert len(turned.arms) == 2, "another objective is no repeat of the same experiment"


def test_a_share_is_of_the_foundation_models_of_the_first_run(journals):
    shares = member_of("shares", searching_for("relative", journals["greedy-1"]), {})
    assert all(moment.best.score is not None for moment in shares.course), "from the first one on"
    other = searching_for("relative", journals["kinship-2"])
    by_first = compare([shares, member_of("other", other, {})]).members[1]
    assert by_first.state.objectives == shares.state.objectives


def test_a_run_against_itself(members):
    one = members["kinship-1"]
    assert divergence(one, one).generation is None
    result = compare([one, one])
    assert result.arms[0].alike
    assert "made identical decisions" in result.caveats[0]


def test_the_first_generation_that_differs(members):
    one, two = members["greedy-1"], members["kinship-1"]
    found = divergence(one, two)
    assert found.generation == 2, "the first generation is the same, the second explores"
    assert [model.kind for model in found.only_second] == ["exploration"]
    assert found.only_first == ()
    back = divergence(two, one)
    assert (back.only_first, back.only_second) == (found.only_second, found.only_first)
    assert found.shared == len(one.state.at_generation(2))


def test_a_family_is_a_tree_not_a_name(members):
    ours, theirs = families(members["greedy-1"].state), families(members["kinship-1"].state)
    assert ours["model-1-1"] == theirs["model-1-1"]
    assert len(set(ours.values())) == len(ours)


def test_exploration_is_counted(members):
    found = exploration_of(members["kinship-2"])
    state = members["kinship-2"].state
    explored = [m for m in state.models.values() if m.kind == "exploration"]
    assert found.children == len(explored) > 0
    assert set(found.winning) <= {m.name for m in explored}
    assert exploration_of(members["greedy-1"]).children == 0


def test_equal_budgets_never_exceed_them(comparison):
    for budget in comparison.budgets:
        for arm, spread in zip(comparison.arms, budget.best, strict=True):
            reached = [best_within(m, budget.unit, budget.amount) for m in arm.members]
            assert spread == Spread.of(reached)
    whole = [b for b in comparison.budgets if b.unit == "evaluations"][-1]
    assert whole.amount == min(len(m.course) for m in comparison.members)


@given(st.lists(st.floats(0, 100) | st.none(), max_size=9))
def test_a_spread_holds_its_median_or_is_unknown(values):
    spread = Spread.of(values)
    if spread is None:
        assert not values or None in values
    else:
        assert spread.low <= spread.median <= spread.high


def test_other_scores_are_refused_by_name(journals):
    one = member_of("one", journals["greedy-1"], {"evaluation.tasks.0.name": "gsm8k"})
    other = rescored(journals["kinship-1"])
    two = member_of("two", other, {"evaluation.tasks.0.name": "arc"})
    with pytest.raises(IncomparableError) as refused:
        compare([one, two])
    assert refused.value.exit_code == 4
    assert 'two against one: evaluation.tasks.0.name: "arc", there "gsm8k"' in str(refused.value)
    bare = member_of("bare", other, {})
    with pytest.raises(IncomparableError, match="files or data of a task differ"):
        compare([member_of("one", journals["greedy-1"], {}), bare])
    mixed = member_of("mixed", [*journals["greedy-1"][:4], *other[4:]], {})
    with pytest.raises(IncomparableError, match="with each other"):
        compare([one, mixed])


def rescored(entries):
    """The same run under another evaluation id."""
    return [
        entry.model_copy(
            update={
                "event": entry.event.model_copy(
                    update={
                        "scores": entry.event.scores.model_copy(update={"evaluation_id": "other"})
                    }
                )
            }
        )
        if isinstance(entry.event, ModelScored)
        else entry
        for entry in entries
    ]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_view_fits(comparison, width):
    console = Console(width=width, color_system=None, force_terminal=True, highlight=False)
    with console.capture() as captured:
        console.print(ComparisonView(comparison))
    text = captured.get()
    assert all(cell_len(line) <= width for line in text.splitlines()), text
    for part in ("2 arms, 4 runs", "kinship against greedy", "they diverge in generation 2",
                 "exploration:", "at equal budgets", "model-2-exp"):  # fmt: skip
        assert part in text, part


def command(*words):
    return cli.main(["compare", *words], standalone_mode=False)


def test_the_command_compares_by_another_objective(landscape, tmp_path, capsys):
    words = ["compare", "greedy-1", "kinship-2", "--dir", str(landscape), "--objective", "worst"]
    page = tmp_path / "page.html"
    cli([*words, "--json", "--html", str(page)], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["objective"] == "worst"
    assert all("searched for the mean over the tasks" in each for each in document["caveats"])
    for name, arm in zip(("greedy-1", "kinship-2"), document["arms"], strict=True):
        best = fold(RunDirectory(landscape / name).read()).best
        assert arm["score"]["median"] == min(task.value for task in best.scores.tasks)
        assert arm["runs"][0]["skills"]["model"] == best.name
    assert "A score is the score on the weakest task;" in page.read_text()


def test_the_command_prints_json(landscape, capsys):
    command("greedy-1", "kinship-1", "--dir", str(landscape), "--json")
    document = json.loads(capsys.readouterr().out)
    assert [arm["arm"] for arm in document["arms"]] == ["greedy", "kinship"]
    state = fold(RunDirectory(landscape / "kinship-1").read())
    run = document["arms"][1]["runs"][0]
    assert run["best"]["score"] == state.best.score
    assert len(run["models"]) == len(state.models)
    assert document["versus"][0]["divergences"][0]["generation"] == 2


def test_one_run_is_no_comparison(landscape):
    with pytest.raises(UsageError, match="two runs or more"):
        command("greedy-1", "greedy-1", "--dir", str(landscape))
    with pytest.raises(UsageError, match="no run named"):
        command("greedy-1", "gredy-2", "--dir", str(landscape))


def test_the_winners_are_compared_item_by_item(landscape, capsys):
    command("greedy-1", "kinship-2", "--dir", str(landscape), "--json")
    found = json.loads(capsys.readouterr().out)["winners"]
    assert len(found["comparisons"]) == 1
    command("greedy-1", "greedy-2", "--dir", str(landscape), "--json")
    assert json.loads(capsys.readouterr().out)["winners"]["comparisons"] == []


def test_held_out_items_decide_where_all_winners_were_scored_on_them(landscape, capsys):
    """The landscape's runs hold half of the items out."""
    command("greedy-1", "kinship-2", "--dir", str(landscape), "--json")
    document = json.loads(capsys.readouterr().out)
    held_out = [
        fold(RunDirectory(landscape / n).read()).best.estimate("held_out").value
        for n in ("greedy-1", "kinship-2")
    ]
    assert document["winners"]["split"] == "held_out"
    assert [arm["held_out"]["median"] for arm in document["arms"]] == held_out
    (each,) = document["winners"]["comparisons"]
    assert each["difference"]["value"] == pytest.approx(held_out[1] - held_out[0])
    command("greedy-1", "kinship-2", "--dir", str(landscape))
    shown = capsys.readouterr().out
    assert "held-out" in shown
    assert "on held-out items, which were not used for selection" in shown


class _Page(HTMLParser):
    """Tags that are open, text that is shown, and what a browser would fetch."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.fetched = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "link", "br", "input"}:
            self.open.append(tag)
        self.fetched += [v for k, v in attributes if k in {"src", "href"} and v[:1] != "#"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_asks_nobody(landscape, tmp_path, capsys):
    page = tmp_path / "page.html"
    names = ("greedy-1", "greedy-2", "kinship-1", "kinship-2")
    command(*names, "--dir", str(landscape), "--html", str(page))
    assert capsys.readouterr().out == ""
    read = _Page(page.read_text(encoding="utf-8"))
    assert read.open == []
    assert {address.partition(":")[0] for address in read.fetched} <= {"data"}
    text = " ".join(" ".join(read.text).split())
    assert "kinship against greedy" in text
    assert "model-2-exp" in text
    assert page.stat().st_size < 2_000_000


def test_a_hostile_name_is_only_a_name(journals, tmp_path):
    from evomerge.domain.difference import Gains
    from evomerge.report.comparison import page

    hostile = '<script>alert("x")</script>'
    members = [member_of(n, journals["greedy-1"], {"strategy.name": n}) for n in ("a", hostile)]
    html = page(compare(members), Gains(split="selection", comparisons=()))
    assert "<script>alert" not in html
