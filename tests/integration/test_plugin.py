"""A strategy and a criterion of another package, installed and used by the command line."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from evomerge.domain.state import fold
from evomerge.store.journal import read_journal
from evomerge.testing.contracts import CriterionContract, StrategyContract

from .conftest import ROOT

EXAMPLE = ROOT / "tests" / "plugin_example"
DISTRIBUTION = "evomerge-example"
USED = (
    "strategy={name: tournament, rounds: 2, size: 3}",
    "stopping=[plateau: {points: 0.0}, max_generations: 1]",
)
CODES = {
    "absent": "",
    "broken": "raise RuntimeError('no GPU')",
    "quits": "raise SystemExit(0)",
    "lacks": "import no_such_library",
    "empty": "class Thing: pass",
    "abstract": "from evomerge.strategies import Strategy\nclass Thing(Strategy): kinds = ()",
}


def installed(folder, version="1.0"):
    """The example in a folder of its own, as pip installs it, without a network."""
    source = folder / f"source-{version}"
    shutil.copytree(EXAMPLE, source)
    project = source / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "1.0"', f'version = "{version}"'))
    target = folder / f"site-{version}"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, source], check=True)
    return target


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("example"))


def path_with(*folders):
    known = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([*map(str, folders), *([known] if known else [])])}


@pytest.fixture(scope="module")
def run(tiny, evomerge, site, tmp_path_factory):
    """The runs folder of a run by the plug-ins, with real merges and scores."""
    runs = tmp_path_factory.mktemp("runs")
    settings = [f"run.dir={runs}", "execution.report=false", *USED]
    words = [w for each in settings for w in ("--set", each)]
    done = evomerge("run", ROOT / "configs" / "tiny.yaml", *words, env=path_with(site))
    assert done.returncode == 0, done.stderr
    return runs / "tiny-evolution"


def test_the_journal_names_them_truly_with_their_version(run):
    state = fold(read_journal(run / "journal.jsonl").entries)
    assert state.start.strategy == "tournament"
    assert state.start.versions[DISTRIBUTION] == "1.0"
    assert [kind.label for kind in state.start.kinds] == ["merge of a winner"]
    children = state.at_generation(1)
    assert {model.kind for model in children} == {"tournament"}
    assert 1 <= len(children) <= 2
    assert all(model.candidate.proposal.kinship is not None for model in children)


def test_whoever_has_no_such_package_can_still_read_the_run(run, evomerge):
    tree = evomerge("tree", run, "--mermaid")
    assert tree.returncode == 0, tree.stderr
    assert "#3a96cf" in tree.stdout, "the colour that the strategy chose is in the journal"
    assert evomerge("status", run).returncode == 0
    gone = evomerge("resume", run)
    assert gone.returncode == 2, gone.stderr
    assert "config.yaml" in gone.stderr
    assert "got the text 'tournament'" in gone.stderr
    assert "Traceback" not in gone.stderr


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("strategy={name: tournament, size: 1}", "strategy.size: expected a number of at least 2"),
        ("strategy={name: tournament, sise: 3}", "strategy.sise: unknown key (did you mean `size`"),
        ("strategy={name: tournment}", "did you mean `tournament`?"),
        ("stopping=[plateau: {points: x}]", "stopping.0.plateau.points: expected a number"),
        ("stopping=[platea: {points: 1}]", "did you mean `plateau`?"),
    ],
)
def test_their_options_are_checked_by_their_own_models(evomerge, site, setting, told):
    words = ["--set", setting]
    refused = evomerge("validate", ROOT / "configs" / "tiny.yaml", *words, env=path_with(site))
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("absent", "there is no module 'plug_absent'; install the package"),
        ("broken", "RuntimeError: no GPU; `python -c 'import plug_broken'` shows where"),
        ("quits", "cannot import plug_quits:Thing: SystemExit"),
        ("lacks", "there is no module 'no_such_library'"),
        ("empty", "it is not a subclass of evomerge.strategies.strategy.Strategy"),
        ("abstract", "is not a complete class: it lacks most_children, propose"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(evomerge, tmp_path, module, told):
    if CODES[module]:
        (tmp_path / f"plug_{module}.py").write_text(CODES[module] + "\n")
    refused = evomerge(
        "validate", ROOT / "configs" / "tiny.yaml",
        "--set", f"strategy.name=plug_{module}:Thing", env=path_with(tmp_path),
    )  # fmt: skip
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_another_version_is_drift_as_that_of_a_library(site, tmp_path):
    def go_on(*folders):
        code = (
            "from pathlib import Path; import sys\n"
            "from evomerge.testing.landscape_run import landscape_config, run_landscape\n"
            "config = landscape_config(\n"
            "    strategy={'name': 'evomerge_example.tournament:Tournament'},\n"
            "    stopping=[{'max_generations': int(sys.argv[2])}])\n"
            "run_landscape(Path(sys.argv[1]), config)\n"
        )
        env = {**os.environ, **path_with(*folders)}
        return subprocess.run(
            [sys.executable, "-c", code, tmp_path / "run", "3"],
            env=env, cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip

    assert go_on(site).returncode == 0
    journal = tmp_path / "run" / "runs" / "landscape" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[0])["event"]["strategy"] == "evomerge_example.tournament:Tournament"
    journal.write_bytes(b"".join(lines[: len(lines) // 2]))
    later = go_on(installed(tmp_path, "1.1"))
    assert later.returncode != 0
    assert f"{DISTRIBUTION} 1.0 at the start, 1.1 now" in later.stderr
    assert go_on(site).returncode == 0


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE)


class TestTournament(StrategyContract):
    @pytest.fixture
    def strategy(self, example):
        from evomerge_example.tournament import Tournament

        return Tournament(rounds=3, size=3)


class TestPlateau(CriterionContract):
    @pytest.fixture
    def criterion(self, example):
        from evomerge_example.plateau import Plateau

        return Plateau(name="plateau", points=5.0)
