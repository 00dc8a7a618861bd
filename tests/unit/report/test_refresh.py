"""The report of a run at work: drawn by a child, never in the way."""

import subprocess
import sys

import pytest

from evomerge.report.refresh import ReportRefresher
from evomerge.store.run_directory import RunDirectory
from evomerge.testing.landscape_run import landscape_config, run_landscape


def run(root, generations=1):
    warnings = []
    directory = RunDirectory(root / "runs" / "landscape")
    config = landscape_config(stopping=[{"max_generations": generations}])
    with ReportRefresher(directory, warnings.append) as refresher:
        state = run_landscape(root, config, observer=refresher)
    return directory, state, warnings


def test_a_finished_run_has_its_report(tmp_path):
    directory, state, warnings = run(tmp_path)
    page = (directory.path / "report.html").read_text()
    assert warnings == []
    assert state.best.name in page
    assert "finished" in page
    assert (directory.path / "plots" / "best-so-far.png").is_file()


def test_a_report_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "runs" / "landscape" / "report.html" / "in the way").mkdir(parents=True)
    directory, state, warnings = run(tmp_path)
    assert state.finished
    assert warnings
    assert "the run is not affected" in warnings[-1]
    assert (directory.path / "logs" / "report.log").read_text()


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("evomerge.cli.driving, evomerge.report.refresh", "altair vl_convert scipy jinja2 torch"),
        (
            "evomerge.cli.report, evomerge.report.run_page",
            "altair vl_convert scipy torch safetensors",
        ),
    ],
)
def test_the_driver_does_not_hold_what_drawing_needs(modules, unwanted):
    code = f"import sys, {modules}; print([m for m in {unwanted.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
