"""`import evomerge`, over runs of the landscape."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from click.testing import CliRunner

import evomerge
from evomerge.analysis.models import COLUMNS
from evomerge.api.driving import _Observed, resumable
from evomerge.cli import cli
from evomerge.domain.errors import StoppedError
from evomerge.domain.state import fold
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import landscape_config, run_landscape


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("api")
    run_landscape(root, landscape_config(stopping=[{"max_evaluations": 14}]))
    return root / "runs"


@pytest.fixture(scope="module")
def run(folder):
    return evomerge.load("landscape", folder)


def models(folder, *words):
    return CliRunner().invoke(cli, ["models", "landscape", "--dir", str(folder), *words])


def test_its_names_are_imported_when_they_are_used():
    code = (
        "import sys, evomerge; assert 'pydantic' not in sys.modules;"
        "assert {'run', 'load', 'runs', 'compare', 'kinship', 'Run'} <= set(dir(evomerge));"
        "evomerge.load; assert not {'torch', 'pandas', 'lm_eval'} & set(sys.modules);"
        "import evomerge.kinship.metrics; assert callable(evomerge.kinship)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        evomerge.lode  # noqa: B018


def test_a_run_is_found_or_the_closest_name_is_told(folder, run):
    assert [each.name for each in evomerge.runs(folder)] == ["landscape"]
    assert evomerge.load(folder / "landscape").path == run.path
    with pytest.raises(evomerge.EvomergeError, match="did you mean 'landscape'"):
        evomerge.load("landscpe", folder)


def test_a_run_is_found_by_its_config_and_below_the_folder_of_the_environment(
    folder, run, tmp_path, monkeypatch
):
    config = tmp_path / "my.yaml"
    assert CliRunner().invoke(cli, ["init", str(config)]).exit_code == 0
    text = config.read_text().replace("name: my-run", "name: landscape").replace("  dir: runs", "")
    config.write_text(text)
    monkeypatch.setenv("EVOMERGE_RUNS", str(folder))
    assert evomerge.load(config).path == run.path
    assert [each.name for each in evomerge.runs()] == ["landscape"]
    assert CliRunner().invoke(cli, ["status", str(config)]).exit_code == 0
    assert run._directory.command("resume") == "evomerge resume landscape"
    monkeypatch.delenv("EVOMERGE_RUNS")
    assert run._directory.command("resume") == f"evomerge resume landscape --dir {folder}"


def test_every_model_is_a_row(run):
    table, state = run.models(), run.state
    assert list(table["model"]) == list(state.models)
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    best = table.set_index("model").loc[run.best.name]
    assert best["rank"] == 1
    assert best["score"] == pytest.approx(run.best.score)
    tasks = [task.task for task in run.best.scores.tasks]
    assert [best[task] for task in tasks] == [task.value for task in run.best.scores.tasks]
    founders = table[table["generation"] == 0]
    for task in tasks:
        assert founders[f"{task} kept"].max() == pytest.approx(1.0)
        assert best[f"{task} kept"] == pytest.approx(best[task] / founders[task].max())
    assert best["gain_over_foundation"] == pytest.approx(best["score"] - founders["score"].max())
    children = table[table["generation"] > 0]
    assert (children["merge_seconds"] >= 0).all()
    assert set(table.loc[table["in_pool"], "model"]) == {model.name for model in state.pool}


def test_generations_and_kinship(run):
    generations = run.generations()
    assert list(generations["best_so_far"]) == sorted(generations["best_so_far"])
    assert generations["models"].sum() == len(run.state.models)
    kinship = run.kinship()
    assert (kinship.to_numpy() == kinship.to_numpy().T).all() or kinship.isna().any().any()
    (a, b), reading = next(iter(run.state.readings.items()))
    assert kinship.loc[a, b] == reading.value(run.state.start.metric)
    assert kinship.attrs["errors"].loc[a, b] == 0.0
    with pytest.raises(evomerge.EvomergeError, match="pcc, cosine, euclidean"):
        run.kinship("pearson")


def test_figures_show_themselves_in_a_notebook(run):
    chart = run.plot.best_so_far()
    assert "$schema" in chart.to_dict()
    assert chart._repr_mimebundle_()
    assert {model.name for model in run.plot.view.models} == set(run.state.models)
    with pytest.raises(evomerge.EvomergeError, match="nothing to show as coefficients"):
        run.plot.coefficients()


def test_a_run_without_logs_says_so(run):
    with pytest.raises(evomerge.EvomergeError, match="did you mean"):
        run.samples(run.best.name + "x", "task-0")
    with pytest.raises(evomerge.EvomergeError, match="was not scored on task 'nope'"):
        run.samples(run.best.name, "nope")
    with pytest.raises(evomerge.EvomergeError, match="two models"):
        run.compare(run.best.name, run.best.name)


def test_comparing_needs_two(run):
    with pytest.raises(evomerge.EvomergeError, match="two runs or more"):
        evomerge.compare([run, run])


def test_a_callback_that_raises_is_told_once_and_harms_nothing(run, capsys):
    seen = []

    def mine(event, state):
        seen.append(event.type)
        raise RuntimeError("boom")

    observer = _Observed(mine)
    for entry in run._directory.read()[:3]:
        observer.on_event(entry.event, fold([]))
    assert len(seen) == 3
    assert capsys.readouterr().err == "warning: the callback mine raised RuntimeError: boom\n"


def test_the_config_can_be_a_dictionary(tmp_path):
    with pytest.raises(evomerge.EvomergeError, match="evaluation: is missing"):
        evomerge.run({"run": {"name": "x"}, "merge": {"method": "slerp"}})
    with pytest.raises(evomerge.EvomergeError, match=r"strategy\.k"):
        evomerge.run({"run": {"name": "x"}}, overrides={"strategy.k": "many"})


def test_the_table_on_the_command_line(folder, run, tmp_path):
    table = run.models()
    assert models(folder).output.splitlines()[1].startswith(table["model"][0])
    told = json.loads(models(folder, "--json").output)["models"]
    assert [row["model"] for row in told] == list(table["model"])
    assert told[0]["score"] == pytest.approx(table["score"][0])
    status = CliRunner().invoke(cli, ["status", "landscape", "--dir", str(folder), "--json"])
    assert [*json.loads(status.output)["models"][0]] == [*table.columns]
    out = models(folder, "--csv", "--columns", "model,score", "--sort", "-score", "--where",
                 "generation > 0").output.splitlines()  # fmt: skip
    assert out[0] == "model,score"
    assert (
        out[1].split(",")[0]
        == table[table["generation"] > 0].set_index("score")["model"][
            table[table["generation"] > 0]["score"].max()
        ]
    )
    file = tmp_path / "models.parquet"
    assert models(folder, "--parquet", str(file)).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_parquet(file)[["score"]], table[["score"]])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sort", "scor"), "did you mean 'score'"),
        (("--columns", "model,xyz"), "no column 'xyz'"),
        (("--where", "scor > 1"), "--where 'scor > 1'"),
    ],
)
def test_slips_are_told(folder, words, told):
    result = models(folder, *words)
    assert isinstance(result.exception, evomerge.EvomergeError)
    assert told in str(result.exception)


def test_an_error_is_one_line_in_a_notebook_and_says_how_to_go_on(folder):
    directory = RunDirectory(folder / "landscape")
    with pytest.raises(StoppedError) as stopped, resumable(directory):
        raise StoppedError("stopped by SIGINT")
    (shown,) = stopped.value._render_traceback_()
    assert shown.startswith("StoppedError: stopped by SIGINT\n")
    assert f"evomerge.load('{directory.path}').resume()" in shown
    with (
        pytest.raises(StoppedError, match="the same call starts it"),
        resumable(RunDirectory(folder / "none")),
    ):
        raise StoppedError("stopped by SIGINT")
