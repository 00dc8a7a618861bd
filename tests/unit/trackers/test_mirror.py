"""What trackers are told, that they cannot stop a run, and that a resumed run goes on in them."""

import importlib.util
import threading

import pytest

from evomerge.adapters.trackers.backends import BACKENDS
from evomerge.adapters.trackers.mirror import Mirror, run_id
from evomerge.domain.digest import decision_digest
from evomerge.domain.state import fold
from evomerge.store.journal import read_journal
from evomerge.testing.landscape_run import landscape_config, run_landscape

CONFIG = landscape_config(stopping=[{"max_generations": 1}])
SHORT = 10  # lines of the journal after which the first driver is gone


class Notebook:
    """A tracker that keeps what it is told, by run, as a real one does."""

    runs: dict[str, list[tuple[int, dict[str, float]]]]

    def __init__(self):
        self.runs, self.started = {}, []

    def start(self, identity, name, settings):
        self.started.append((identity, name, dict(settings)))
        self.points = self.runs.setdefault(identity, [])

    def log(self, step, values):
        self.points.append((step, dict(values)))

    def finish(self):
        self.started.append("finished")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    root = tmp_path_factory.mktemp("alone")
    return run_landscape(root, CONFIG), root / "runs/landscape/journal.jsonl"


def run(root, make, warn=None, patience=20.0):
    said = []
    journal = root / "runs/landscape/journal.jsonl"
    with Mirror("fake", make, journal, warn or said.append, patience) as mirror:
        state = run_landscape(root, CONFIG, observer=mirror)
    return state, said


def test_it_is_told_what_the_journal_holds(tmp_path):
    notebook = Notebook()
    state, said = run(tmp_path, lambda: notebook)
    assert said == []
    (points,) = notebook.runs.values()
    scores = [values["score"] for _, values in points if "score" in values]
    assert sorted(scores) == sorted(model.score for model in state.ranking)
    best = [values["best_score"] for _, values in points if "best_score" in values]
    assert best == sorted(best)
    assert best[-1] == state.best.score
    assert [step for step, _ in points] == sorted(step for step, _ in points)
    told = [values["parents_kinship"] for _, values in points if "parents_kinship" in values]
    kinship = [c.proposal.kinship for g in state.generations for c in g.candidates]
    assert sorted(told) == sorted(value for value in kinship if value is not None)
    assert told
    assert notebook.started[0][2]["strategy"] == "kinship"
    assert notebook.started[-1] == "finished"


def test_a_resumed_run_goes_on_in_its_tracker_s_run(tmp_path, alone):
    _, journal = alone
    copy = tmp_path / "runs/landscape/journal.jsonl"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:SHORT]))
    notebook = Notebook()
    run(tmp_path, lambda: notebook)
    assert [*notebook.runs] == [run_id(journal)] == [run_id(copy)]
    before = fold(read_journal(journal).entries[:SHORT]).evaluations
    assert min(step for step, _ in next(iter(notebook.runs.values()))) >= before


class _Broken(Notebook):
    def __init__(self, place):
        super().__init__()
        self.place = place

    def _at(self, place):
        if self.place == place:
            raise SystemExit("no\nquota")

    def start(self, *arguments):
        self._at("start")
        super().start(*arguments)

    def log(self, *arguments):
        self._at("log")
        super().log(*arguments)

    def finish(self):
        self._at("finish")


@pytest.mark.parametrize("place", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_off_and_named_once(tmp_path, alone, place):
    state, said = run(tmp_path, lambda: _Broken(place))
    assert decision_digest(state) == decision_digest(alone[0])
    assert said == ["fake is off, the run goes on: SystemExit: no"]


def test_a_missing_tracker_names_its_extra(tmp_path):
    def make():
        raise ModuleNotFoundError("No module named 'fake'")

    _, said = run(tmp_path, make)
    assert said[0].endswith("install it with: pip install 'evomerge[fake]'")


def test_a_tracker_that_hangs_holds_nobody_up(tmp_path, alone):
    released, returned = threading.Event(), threading.Event()

    class Hanging(Notebook):
        def log(self, *arguments):
            released.wait(600)
            returned.set()

    state, said = run(tmp_path, Hanging, patience=0.05)
    assert not returned.is_set(), "the run ended first"
    released.set()
    assert decision_digest(state) == decision_digest(alone[0])
    assert said == ["fake did not take all values in 0 s"]


def test_the_config_knows_every_tracker():
    from evomerge.config import Config

    (names,) = (
        set(each["enum"])
        for each in [Config.model_json_schema()["properties"]["tracking"]["items"]]
    )
    assert names == set(BACKENDS)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="not installed")
def test_tensorboard_holds_it(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    for _ in range(2):
        state, said = run(tmp_path, lambda: BACKENDS["tensorboard"](tmp_path))
    assert said == []
    read = EventAccumulator(str(tmp_path / "tracking/tensorboard")).Reload()
    best = make_ndarray(read.Tensors("best_score")[-1].tensor_proto)
    assert float(best) == pytest.approx(state.best.score, rel=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="not installed")
def test_mlflow_holds_it(tmp_path, monkeypatch, alone):
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    _, said = run(tmp_path, lambda: BACKENDS["mlflow"](tmp_path))
    assert said == []
    journal = tmp_path / "runs/landscape/journal.jsonl"
    state = fold(read_journal(journal).entries)
    tracker = BACKENDS["mlflow"](tmp_path)
    tracker.start(run_id(journal), "landscape", {})
    tracker.finish()
    client = MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("evomerge").experiment_id])
    assert found.data.metrics["best_score"] == pytest.approx(state.best.score)


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="not installed")
def test_trackio_takes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, said = run(tmp_path, lambda: BACKENDS["trackio"](tmp_path))
    assert said == []
    assert [*(tmp_path / "trackio").rglob("*.db")]
