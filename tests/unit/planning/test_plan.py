"""`evomerge plan`: the paper's experiment calculated by hand, and the laws of the bounds."""

from __future__ import annotations

import io
import json
import re
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from evomerge.adapters.hub import Hub
from evomerge.cli import plan as command
from evomerge.config import Config
from evomerge.configfile import load
from evomerge.domain.events import Event, HeldOutScored, ModelMerged, ModelScored
from evomerge.domain.scores import Scores, TaskScore
from evomerge.planning.models import ModelFacts
from evomerge.planning.projections import Durations, _drive, first_generation, projections_of
from evomerge.planning.rates import Rate, Rates, Record, known_rates
from evomerge.planning.requirements import Plan, Range, make_plan
from evomerge.strategies import STRATEGIES
from evomerge.terminal.planning import plan_view

CONFIGS = Path(__file__).parents[3] / "configs"
MISTRAL = 7_241_732_096  # parameters of Mistral-7B: 32,000 rows of 4,096, twice, and 32 layers
OPENCHAT = MISTRAL + 2 * 2 * 4096  # two rows more in the embedding and in the output


def rate(seconds: float | None) -> Rate:
    return Rate(seconds, "given", "test")


def facts(name: str, parameters: int = MISTRAL, where: Any = "hub") -> ModelFacts:
    return ModelFacts(
        name, f"org/{name}", where, "0" * 40, 2 * parameters, parameters, 32_000 * 4096, 32_000
    )


def paper() -> Config:
    return load(CONFIGS / "mistral7b.yaml")


def plan_of(config: Config, workers: int = 1, **changes: Any) -> Plan:
    models = [facts("base"), *(facts(each.short_name) for each in config.foundation_models[:-1])]
    models.append(facts(config.foundation_models[-1].short_name, OPENCHAT))
    rates = Rates(merge=rate(80), evaluation=rate(1500), kinship=rate(15))
    return make_plan(config, models, rates, workers=workers, **changes)


def test_the_papers_experiment_by_hand() -> None:
    """Three models and k = 3: 3 pairs, then at most 3 greedy merges and 1 exploration merge."""
    plan = plan_of(paper(), price=2.5)
    assert [(g.merges.low, g.merges.high) for g in plan.generations] == [
        (0, 0), (3, 3), (0, 4), (0, 4), (0, 4), (0, 4),
    ]  # fmt: skip
    assert [g.explored.high for g in plan.generations] == [0, 0, 1, 1, 1, 1]
    assert plan.merges == Range(3, 3 + 4 * 4)
    assert plan.evaluations == Range(3 + 3, 3 + 19)
    assert plan.length == Range(1, 5)
    assert plan.bounded
    assert plan.longest.startswith("max_generations")
    assert plan.shortest.startswith("exhausted"), "no child in the pool, no new pair"

    # bfloat16, two bytes a weight; a child is at most as large as its largest parent
    assert plan.child == 2 * OPENCHAT == 14_483_496_960
    assert plan.download == 3 * 14_483_464_192 + 14_483_496_960 == 57_933_889_536
    assert plan.peaks == {"all": 19, "pool": 12, "best": 12}, "pool: generations 3, 4 and 5"
    assert plan.disk["all"] == 19 * 14_483_496_960 == 275_186_442_240
    assert plan.disk["pool"] == 12 * 14_483_496_960

    # Six evaluations one after the other; the first child waits 80 s for its merge, the others
    # are merged meanwhile. Kinship reads base and models: the parents of the first generation.
    shortest = 3 * 1500 + 15 * (1 + 3) + 80 + 3 * 1500
    # Before each later one: the best model and the generation before its own, from which the
    # exploration's partner comes, then the parents of the greedy merges.
    partners, parents = 15 * ((1 + 1 + 3) * 2 + (1 + 1 + 4) * 2), 4 * 15 * (1 + 3)
    longest = shortest + 4 * (80 + 4 * 1500) + partners + parents
    assert plan.hours.wall.low == pytest.approx(shortest / 3600)
    assert plan.hours.wall.high == pytest.approx(longest / 3600)
    assert plan.hours.merges == Range(3 * 80 / 3600, 19 * 80 / 3600)
    assert plan.hours.evaluations.high == pytest.approx(22 * 1500 / 3600)
    assert plan.cost is not None
    assert plan.cost.high == pytest.approx(longest / 3600 * 2.5)
    # 1 GB of libraries, a shard of 5 GB, three models' largest tensor twice in float32
    assert plan.memory.merge == 1e9 + 5e9 + 3 * 2 * 4 * 32_000 * 4096
    # 1.5 GB, the weights, and 8 windows of 2,048 tokens of 32,000 logits of 2 + 4 bytes
    assert plan.memory.evaluation == 1.5e9 + 14_483_496_960 + 8 * 2048 * 32_000 * 6


def test_the_end_of_a_run_by_hand() -> None:
    """A quarter held out, two final tasks beside three: the best and three foundation models."""
    with_end = {
        "split": {"held_out": 0.25},
        "final_tasks": [{"name": "arc_easy", "metric": "acc"}, {"name": "piqa", "metric": "acc"}],
    }
    config = paper()
    document = config.model_dump(mode="json", by_alias=True)
    document["evaluation"] |= with_end
    longer = Config.model_validate(document)
    assert len(config.evaluation.tasks) == 3
    before, plan = plan_of(config, price=2.0), plan_of(longer, price=2.0)
    # The best model of the shortest course is a foundation model, which is scored once.
    assert plan.at_the_end.evaluations == Range(2 * 3, 2 * 4)
    assert plan.evaluations == before.evaluations == Range(6, 22), "held-out ones are apart"
    assert plan.merges == before.merges
    # 1,500 s are for three quarters of the items of three tasks.
    held_out, final = 1500 / 3, 1500 / 0.75 / 3 * 2
    assert plan.at_the_end.seconds.low == pytest.approx(3 * (held_out + final))
    assert plan.at_the_end.seconds.high == pytest.approx(4 * (held_out + final))
    more = 4 * (held_out + final) / 3600
    assert plan.hours.wall.high == pytest.approx(before.hours.wall.high + more)
    assert plan.hours.evaluations.high == pytest.approx(before.hours.evaluations.high + more)
    assert plan.cost is not None
    assert before.cost is not None
    assert plan.cost.high == pytest.approx(before.cost.high + 2 * more)
    # Four workers score all of a part at the same time.
    four = plan_of(longer, workers=4)
    assert four.at_the_end.seconds == Range(held_out + final, held_out + final)
    shown = " ".join(text(plan).split())
    assert "3 – 19 merges, 6 – 22 evaluations, 6 – 8 held-out" in shown
    assert "at the end 0 0 6 – 8 held-out" in shown
    assert "at the end" not in text(before)


def test_the_greedy_arm_by_hand() -> None:
    plan = plan_of(load(CONFIGS / "mistral7b-greedy.yaml"))
    later = len(plan.generations) - 2
    assert plan.merges == Range(3, 3 + 3 * later)
    assert all(g.explored.high == 0 for g in plan.generations)


def test_four_gpus_score_side_by_side() -> None:
    one, four = plan_of(paper()), plan_of(paper(), workers=4, price=1.0)
    # generation 2: four children, ready at 80, 160, 240 and 320 s, each on a GPU of its own
    assert four.generations[2].seconds.high == 320 + 1500 + 15 * (5 + 4)
    assert four.hours.evaluations == one.hours.evaluations
    assert four.cost is not None
    assert four.cost.high == pytest.approx(4 * four.hours.wall.high)


def test_two_workers_of_one_gpu_cost_one_gpu() -> None:
    both, alone = (plan_of(paper(), workers=2, price=1.0, gpus=gpus) for gpus in (1, 2))
    assert both.cost is not None
    assert alone.cost is not None
    assert alone.cost.high == pytest.approx(2 * both.cost.high)
    assert Durations(80, 1500, workers=4, mergers=2).wall(4, 4) == 2 * 80 + 1500


def test_five_models_have_ten_pairs() -> None:
    plan = plan_of(load(CONFIGS / "tiny.yaml"))
    assert plan.generations[1].merges == Range(10, 10)
    assert plan.generations[2].merges == Range(0, 4)


def test_the_first_generation_is_the_strategy_s() -> None:
    config = load(CONFIGS / "tiny.yaml")
    assert first_generation(config) == 10
    assert first_generation(load(CONFIGS / "tiny.yaml", ["strategy.name=steady_state"])) == 1


def test_a_plan_of_elites_imagines_elites() -> None:
    """Three tasks and k = 2: a pool of two, or of up to three, whose weights `pool` keeps."""
    ten = ["stopping=[{max_generations: 10}]", "strategy.k=2"]
    top_k, elites = (
        plan_of(load(CONFIGS / "mistral7b-greedy.yaml", [*ten, f"strategy.pool={pool}"]))
        for pool in ("top_k", "elites")
    )
    assert top_k.peaks["pool"] < elites.peaks["pool"]
    assert top_k.merges.high < elites.merges.high, "a larger pool has more pairs, k of which count"


@pytest.mark.parametrize("objective", ["worst", "relative", "geometric"])
def test_what_better_means_changes_no_count(objective: str) -> None:
    criteria = "stopping=[{no_improvement: {patience: 2, min_delta: 20}}, {max_generations: 6}]"
    mean, other = (
        plan_of(load(CONFIGS / "mistral7b.yaml", [criteria, *more]))
        for more in ([], [f"evaluation.objective={objective}"])
    )
    assert (other.merges, other.evaluations) == (mean.merges, mean.evaluations)


def stopping(*criteria: Any) -> Config:
    config = paper()
    document = {**config.model_dump(mode="json", by_alias=True), "stopping": criteria}
    return Config.model_validate(document)


def test_a_budget_of_money_ends_the_search_and_prices_the_plan() -> None:
    """Two workers on a GPU each, at 2 an hour: 4 an hour."""
    free = plan_of(stopping({"max_generations": 5}), workers=2)
    plan = plan_of(stopping({"max_cost": {"price_per_gpu_hour": 2.0, "limit": 5.0}}), workers=2)
    assert plan.price == 2.0
    assert plan.longest.startswith("max_cost: ")
    assert plan.bounded
    assert plan.cost is not None
    assert plan.cost.high == pytest.approx(plan.hours.wall.high * 2 * 2.0)
    assert plan.cost.high >= 5.0
    assert plan.evaluations.high < free.evaluations.high


def test_a_budget_of_evaluations_is_never_exceeded() -> None:
    plan = plan_of(stopping({"max_evaluations": 9}))
    assert plan.evaluations.high == 9
    assert plan.merges.high == 6
    assert plan.bounded


def test_hours_bound_the_generations() -> None:
    # 1.27 h for the foundation models, 1.30 h for generation 1, 1.73 h for generation 2: 4.30 h
    config = stopping({"max_hours": 4})
    assert plan_of(config).bounded
    assert projections_of(config, Durations(80, 1500, 15))[0].generations == 2


def test_a_search_without_a_limit_is_said_to_have_none() -> None:
    plan = plan_of(stopping("pool_unchanged", {"no_improvement": {"patience": 2}}))
    assert not plan.bounded
    shown = " ".join(text(plan).split())
    assert "3 or more merges, 6 or more evaluations" in shown
    assert "and so on" in shown
    assert "max_generations" in shown
    horizon = 3 + 4 * 19
    assert f"{horizon} merges" not in shown, "nothing is said of the horizon of imagination"


def text(plan: Plan, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(plan_view(plan, 10**9))
    return capture.get()


@pytest.mark.parametrize("width", [80, 60])
def test_it_fits_the_terminal(width: int) -> None:
    shown = text(plan_of(paper(), price=2.5), width)
    assert max(map(len, shown.splitlines())) <= width
    assert "3 – 19 merges, 6 – 22 evaluations" in " ".join(shown.split())
    assert "this config may need more" in " ".join(shown.split())


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(2, 6), k=st.integers(2, 5),
    name=st.sampled_from(["kinship", "greedy", "random"]),
    candidates=st.sampled_from(["grandparent_generation", "repository", "pool"]),
    ties=st.booleans(),
)  # fmt: skip
def test_no_scores_lead_out_of_the_bounds(
    seed: int, n: int, k: int, name: str, candidates: str, ties: bool
) -> None:
    explores = {} if name == "greedy" else {"exploration": {"candidates": candidates}}
    config = Config.model_validate(
        {
            "run": {"name": "law"},
            "base_model": "org/base",
            "foundation_models": [f"org/f{number}" for number in range(n)],
            "strategy": {"name": name, "k": k, **explores},
            "merge": {"method": "slerp"},
            "evaluation": {"tasks": ["a"]},
            "stopping": ["pool_unchanged", {"max_generations": 5}],
        }
    )
    courses = projections_of(config, Durations())
    rng = Random(seed)
    course = _drive(
        config, Durations(), "any",
        lambda n, task: float(rng.randrange(5)) if ties else rng.gauss(0, 9),
        lambda: rng.uniform(-1, 1),
    )  # fmt: skip
    assert course.merges <= max(each.merges for each in courses)
    assert course.merges >= min(each.merges for each in courses)
    assert course.peak("all") <= max(each.peak("all") for each in courses)
    for step in course.steps[2:]:
        assert step.merges <= min(k, k * (k - 1) // 2) + (name != "greedy")


def rates_with_wudi(*overrides: str) -> Rates:
    given = ["merge.method=wudi", "merge.parameters={}", *overrides]
    return known_rates(load(CONFIGS / "mistral7b.yaml", given), 14_500_000_000, [])


def test_wudi_is_estimated_by_parents_and_threads() -> None:
    plain = known_rates(load(CONFIGS / "mistral7b.yaml"), 14_500_000_000, []).merge.seconds
    assert plain is not None

    def further(*overrides: str) -> float:
        return (rates_with_wudi(*overrides).merge.seconds or 0.0) - plain

    pair = further()
    assert further("merge.options.threads=16") == pytest.approx(pair / 16)
    assert further("merge.options.device=cuda") < 60
    assert "1 CPU threads" in rates_with_wudi().merge.source
    of_all = rates_with_wudi("strategy={name: seed_grid}")
    assert of_all.merge.seconds == plain, "a sum of task vectors"
    vector = of_all.task_vector.seconds
    assert vector is not None
    assert pair / 2 < vector - plain < pair, "more right sides than a merge has"
    threaded = rates_with_wudi("strategy={name: seed_grid}", "merge.options.threads=16")
    assert threaded.task_vector.seconds == pytest.approx(plain + (vector - plain) / 16)


@pytest.mark.parametrize("name", ["seed_grid", "coefficient_search"])
def test_task_vectors_are_made_once_and_take_the_room_of_models(name: str) -> None:
    """Three foundation models: three task vectors of a child's size while the search goes on."""
    overrides = [f"strategy={{name: {name}}}", "merge.method=wudi", "merge.parameters={}"]
    config = load(CONFIGS / "mistral7b.yaml", [*overrides, "retention=best"])
    models = [facts("base"), *(facts(each.short_name) for each in config.foundation_models)]
    rates = Rates(rate(80), rate(1500), rate(15), task_vector=rate(3600))
    plan = make_plan(config, models, rates, workers=1)
    assert plan.task_vectors == 3
    assert plan.hours.task_vectors == Range(3, 3)
    assert plan.child is not None
    assert plan.disk["best"] == (plan.peaks["best"] + 3) * plan.child
    assert plan.generations[1].seconds.low > 3 * 3600
    assert plan.hours.wall.low > 3
    console = Console(file=io.StringIO(), width=120)
    console.print(plan_view(plan, None))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "and 3 task vectors at once" in shown
    assert re.search(r"task vectors +60 min +3.0 h", shown)


def test_plain_merges_have_no_task_vectors() -> None:
    plan = plan_of(paper())
    assert plan.task_vectors == 0
    assert plan.hours.task_vectors == Range(0, 0)


def test_rates_are_given_measured_or_stated() -> None:
    config = paper()
    score = Scores(
        evaluation_id="e", tasks=(TaskScore(task="t", metric="m", value=50.0, samples=1),)
    )
    events: list[Event] = [
        ModelScored(model="a", scores=score, seconds=100),
        ModelScored(model="b", scores=score, seconds=200),
        ModelScored(model="c", scores=score, seconds=0.1, reused=True),
        ModelMerged(model="c", seconds=7),
    ]
    measured = known_rates(config, 10**10, [Record("before", config, events)])
    assert measured.evaluation == Rate(150, "measured", "2 in before")
    assert measured.merge.seconds == 7
    other = load(CONFIGS / "mistral7b.yaml", ["evaluation.batch_size=1", "merge.dtype=float32"])
    stated = known_rates(other, 14_500_000_000, [Record("before", config, events)])
    assert (stated.evaluation.known, stated.evaluation.seconds) == ("stated", 1500)
    assert (stated.merge.known, stated.merge.seconds) == ("stated", pytest.approx(80))
    assert known_rates(config, None, []).merge.known == "unknown"
    assert known_rates(config, 10**6, []).merge.known == "unknown"
    assert known_rates(config, 10**10, [], on_gpu=False).evaluation.known == "unknown"
    halves = load(CONFIGS / "mistral7b.yaml", ["evaluation.split=0.5"])
    held_out = HeldOutScored(model="a", split="held_out", scores=score, seconds=40)
    ends = known_rates(halves, 10**10, [Record("before", halves, [*events, held_out])])
    assert ends.of_split("held_out", halves) == Rate(40, "measured", "1 in before")
    first = known_rates(halves, 10**10, [Record("before", halves, events)])
    assert first.of_split("held_out", halves).seconds == 150, "as many items as the search sees"
    guarded = load(CONFIGS / "mistral7b.yaml", ["evaluation.guard=default"])
    assert known_rates(guarded, 14_500_000_000, []).evaluation.seconds == 1500.5
    given = known_rates(config, 10**10, [Record("r", config, events)], hours_per_evaluation=0.5)
    assert given.evaluation == Rate(1800, "given", "--hours-per-evaluation")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_of_the_repository_can_be_planned(path: Path) -> None:
    assert plan_of(load(path)).bounded


@pytest.mark.parametrize("name", [*STRATEGIES.own])
def test_every_strategy_can_be_planned(name: str) -> None:
    plan = plan_of(load(CONFIGS / "mistral7b-ties.yaml", [f"strategy.name={name}"]))
    assert plan.bounded
    assert plan.merges.high >= 1


def test_the_command_plans_without_a_network(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    arguments = [str(CONFIGS / "tiny.yaml"), "--set", f"run.dir={tmp_path / 'runs'}", "--json"]
    shown = CliRunner().invoke(command.command, arguments, catch_exceptions=False)
    document = json.loads(shown.stdout)
    assert document["download"] == 0
    size = (tiny / "models" / "sort" / "model.safetensors").stat().st_size
    assert document["models"][2] | {"size": size, "where": "local"} == document["models"][2]
    assert document["disk"]["all"] == 30 * document["child"]
    assert not (tmp_path / "runs").exists()
    far = CliRunner().invoke(
        command.command, [str(CONFIGS / "mistral7b.yaml"), "--json"], catch_exceptions=False
    )
    assert json.loads(far.stdout)["unsized"] == [
        "Mistral-7B-v0.1",
        "MetaMath",
        "Instruct",
        "Open-chat",
    ]
    assert json.loads(far.stdout)["disk"]["all"] is None
    with closing(Hub()) as hub:
        assert "--model-size" in text(command.planned(paper(), hub))


def test_hf_and_vllm_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with closing(Hub()) as hub:
        plan = command.planned(paper(), hub, price=2.0, model_size=14.5)
        given = command.planned(paper(), hub, hours_per_evaluation=1.0, model_size=14.5)
    other = plan.other_backend
    assert other is not None
    assert (plan.backend, other.backend) == ("hf", "vllm")
    assert (plan.rates.evaluation.seconds, other.evaluation.seconds) == (1500, 140)
    assert other.evaluations.high == pytest.approx(plan.hours.evaluations.high * 140 / 1500)
    assert other.wall.high < plan.hours.wall.high
    shown = text(plan)
    assert re.search(r"hf +25 min .*\n *vllm +2 min ", shown), shown
    assert given.other_backend is None
    assert "kept for the run" not in shown


@pytest.mark.parametrize(
    ("options", "arguments", "told"),
    [
        ({}, {}, "90% of a GPU's memory, kept for the run\n"),
        ({"device": "cuda"}, {}, "75% of a GPU's memory, kept for the run; merges"),
        ({"device": "cuda"}, {"gpu_memory_utilization": 0.5}, "50% of a GPU"),
    ],
)
def test_a_kept_engine_and_merges_on_its_gpu(
    options: dict[str, Any], arguments: dict[str, Any], told: str
) -> None:
    config = paper()
    evaluation = config.evaluation.model_copy(update={"backend": "vllm", "model_args": arguments})
    merge = config.merge.model_copy(
        update={"options": config.merge.options.model_copy(update=options)}
    )
    changed = config.model_copy(update={"evaluation": evaluation, "merge": merge})
    lines = text(plan_of(changed)).splitlines()
    assert told in "".join(f"{line.rstrip()}\n" for line in lines)


def test_regmean_is_estimated_by_the_items_that_it_sees() -> None:
    def rates(items: int, *overrides: str) -> Rates:
        given = ["merge.method=regmean_pp", "merge.parameters={}", *overrides]
        given += [f"evaluation.split={{held_out: 0.5, calibration: {items}}}"]
        return known_rates(load(CONFIGS / "mistral7b.yaml", given), 14_500_000_000, [])

    few, many = (rates(items).task_vector.seconds or 0.0 for items in (16, 64))
    assert 2 < many / few < 4.1
    assert rates(64, "merge.options.threads=16").task_vector.seconds == pytest.approx(
        many / 16, rel=0.3
    )
    assert (rates(64, "merge.options.device=cuda").task_vector.seconds or 0.0) < many / 20
    assert "regmean_pp" in rates(64).task_vector.source
