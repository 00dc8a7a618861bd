"""The main job on real tiny models: mergekit merges, lm-eval scores, kinship from weights."""

import json
from itertools import pairwise

import pytest

from evomerge.domain.digest import decision_digest
from evomerge.domain.state import fold
from evomerge.store.journal import read_journal

from .conftest import ROOT

CONFIG = ROOT / "configs" / "tiny.yaml"


def arguments(runs, *further, report="false"):
    settings = (f"run.dir={runs}", f"execution.report={report}")
    return ["run", CONFIG, *(w for each in settings for w in ("--set", each)), *further]


def state_of(runs, name="tiny-evolution"):
    return fold(read_journal(runs / name / "journal.jsonl").entries)


@pytest.fixture(scope="module")
def whole(tiny, evomerge, tmp_path_factory):
    """The runs folder of an uninterrupted run."""
    runs = tmp_path_factory.mktemp("whole")
    done = evomerge(*arguments(runs, "--json", report="true"))
    assert done.returncode == 0, done.stderr
    return runs, json.loads(done.stdout)


def test_evolution_beats_every_foundation_model(whole):
    runs, result = whole
    state = state_of(runs)
    foundation = max(model.score for model in state.at_generation(0))
    assert state.best.score > foundation + 10
    assert result["best"]["name"] == state.best.name
    tops = [
        max(m.score for m in state.models.values() if m.generation <= g.number and m.score)
        for g in state.generations
    ]
    assert tops[2] > tops[1], "the best score still climbs after the first generation"
    assert all(later >= earlier for earlier, later in pairwise(tops))


def test_the_run_directory_tells_the_story(whole):
    runs, _ = whole
    run = runs / "tiny-evolution"
    assert (run / "config.yaml").is_file()
    assert json.loads((run / "environment.json").read_text())["versions"]["mergekit"]
    state = state_of(runs)
    for generation in state.generations:
        text = (run / "generations" / f"{generation.number:02}.yaml").read_text()
        for candidate in generation.candidates:
            assert candidate.proposal.reason in text
    for model in state.models.values():
        if model.merged:
            folder = run / "models" / model.name
            assert (folder / "model.safetensors").stat().st_size > 10_000
            assert (folder / "mergekit_config.yml").is_file()
            assert (folder / "recipe.yaml").is_file()
            assert (folder / "tokenizer.json").is_file()
        evaluations = runs / "store" / "evaluations" / model.content_id
        for scores in (model.scores, *model.held_out.values()):
            samples = list((evaluations / scores.evaluation_id).glob("samples_*.jsonl"))
            assert len(samples) == len(scores.tasks)


def test_the_end_scores_items_that_the_search_never_saw(whole):
    runs, result = whole
    state = state_of(runs)
    assert [model.name for model in state.finalists if model.on("held_out")] == [
        state.best.name,
        *(model.name for model in state.at_generation(0)),
    ]
    best = state.best
    folder = runs / "store" / "evaluations" / best.content_id
    items = [
        {
            json.loads(line)["doc_id"]
            for line in (folder / scores.evaluation_id / "samples_tiny_sort.jsonl").open()
        }
        for scores in (best.scores, best.on("held_out"))
    ]
    assert items[0].isdisjoint(items[1])
    assert items[0] | items[1] == set(range(120))
    assert result["best"]["held_out"] == best.estimate("held_out").value
    assert result["best"]["selection_gap"] == best.selection_gap
    assert result["held_out_gain_over_foundation"] > 10


def test_the_report_is_there_at_the_end_of_the_run(whole):
    runs, result = whole
    run = runs / "tiny-evolution"
    page = (run / "report.html").read_text()
    assert result["best"]["name"] in page
    assert "against its parents, by layer" in page, "the change of weights is told from the store"
    names = {file.stem for file in (run / "plots").glob("*.png")}
    assert {"gained-and-lost", "model-by-task", "family-tree", "weight-change"} <= names
    assert (run / "logs" / "report.log").read_text().splitlines() == [str(run / "report.html")]


def test_the_best_model_loads_with_transformers(whole):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    runs, _ = whole
    folder = runs / "tiny-evolution" / "models" / state_of(runs).best.name
    AutoModelForCausalLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("1=").input_ids


def test_kinship_is_that_of_the_weights(whole, tiny):
    import torch
    from safetensors.torch import load_file

    runs, _ = whole
    state = state_of(runs)
    base = load_file(tiny / "models" / "base" / "model.safetensors")

    def delta(name):
        model = state.models[name]
        folder = next(f.source for f in state.start.foundation if f.name == name)
        tensors = load_file(ROOT / folder / "model.safetensors")
        assert model.kind == "foundation"
        return torch.cat([(tensors[key].double() - base[key].double()).flatten() for key in base])

    names = [model.name for model in state.at_generation(0)][:3]
    for a, b in [(names[0], names[1]), (names[1], names[2])]:
        expected = torch.corrcoef(torch.stack([delta(a), delta(b)]))[0, 1].item()
        assert state.kinship.between(a, b) == pytest.approx(expected, abs=1e-7)


def test_running_it_again_does_nothing(whole, evomerge):
    runs, _ = whole
    journal = runs / "tiny-evolution" / "journal.jsonl"
    before = journal.read_bytes()
    done = evomerge(*arguments(runs))
    assert done.returncode == 0
    assert state_of(runs).best.name in done.stdout
    assert journal.read_bytes() == before


def test_another_config_under_the_same_name_is_refused(whole, evomerge):
    runs, _ = whole
    done = evomerge(*arguments(runs, "--set", "strategy.k=4"))
    assert done.returncode == 2
    assert "strategy.k: 3 -> 4" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_finds_all_its_work_done_starts_no_merger_and_no_scorer(whole, evomerge):
    runs, _ = whole
    done = evomerge(*arguments(runs, "--set", "run.name=again"))
    assert done.returncode == 0, done.stderr
    assert decision_digest(state_of(runs, "again")) == decision_digest(state_of(runs))
    logs = {path.stem for path in (runs / "again" / "logs").iterdir()}
    assert "kinship" in logs
    assert not [name for name in logs if name.startswith(("merge", "score"))]


def test_an_exported_model_is_complete_and_scores_the_same(whole, evomerge, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from evomerge.configfile import load
    from evomerge.domain.scores import Scores
    from evomerge.execution import operations
    from evomerge.execution.evaluation import Evaluation
    from evomerge.execution.pool import Pool
    from evomerge.wiring import workers

    runs, _ = whole
    state = state_of(runs)
    folder = tmp_path / "exported"
    canary = {"HF_TOKEN": "hf_canarycanarycanary1"}
    words = ["export", "tiny-evolution", "--dir", runs, "--to", folder]
    done = evomerge(*words, "--push", "someone/tiny", "--dry-run", env=canary)
    assert done.returncode == 0, done.stderr
    assert "would upload 6 files, 0.00 GB, to someone/tiny (private)" in done.stdout

    card = (folder / "README.md").read_text()
    best = state.best
    for task in best.scores.tasks:
        assert f"**{task.value:.1f}" in card
    assert "- evomerge" in card
    assert "```mermaid" in card
    assert f"name: {best.name}" in card
    assert "merge_method: ties" in card
    for file in folder.iterdir():
        content = file.read_bytes()
        for secret in (str(runs), str(ROOT), str(tmp_path), "canary"):
            assert secret.encode() not in content, f"{secret} in {file.name}"

    AutoModelForCausalLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("1=").input_ids
    config = load(runs / "tiny-evolution" / "config.yaml")
    asked = (config.evaluation, config.merge.options)
    (tmp_path / "into").mkdir()
    pool = Pool(workers(config, tmp_path / "logs"))
    told = pool.run(operations.describe(*asked))
    answer = pool.run(operations.score(*asked, "selection", folder, tmp_path / "into"))
    pool.close()
    scores = Scores.model_validate(answer)
    assert Evaluation.model_validate(told).chosen(scores, "selection") == best.scores
    held_out = best.estimate("held_out")
    assert f"{held_out.value:.2f}" in card, "what the search never saw is in the card"

    again = evomerge(*words)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    wrong = evomerge("export", "tiny-evolution", "sort", "--dir", runs, "--to", tmp_path / "x")
    assert "sort is a foundation model" in wrong.stderr
    assert not (tmp_path / "x").exists()
