"""`evomerge slurm`: the signals of a batch system, sent to the script as Slurm sends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from evomerge.cli import slurm
from evomerge.domain.errors import UsageError
from evomerge.domain.state import fold
from evomerge.store.journal import read_journal

from .conftest import OFFLINE, ROOT

JOB = "4711"
SCONTROL = """\
#!/bin/bash
echo "$@" >> {asked}
[ -n "$SLURM_RESTART_COUNT" ] && exit
export SLURM_RESTART_COUNT=1
setsid bash {script} > {output} 2>&1 < /dev/null &
echo $! > {second}
"""


class Cluster:
    """One job: a batch script, and a `scontrol` on PATH that starts it again when asked."""

    def __init__(self, folder: Path, script: str) -> None:
        self.asked, self.second, self.output = (
            folder / name for name in ("asked", "second", "output")
        )
        self._script = folder / "job.sbatch"
        self._script.write_text(script)
        scontrol = folder / "bin" / "scontrol"
        scontrol.parent.mkdir()
        text = SCONTROL.format(
            asked=self.asked, script=self._script, output=self.output, second=self.second
        )
        scontrol.write_text(text)
        scontrol.chmod(0o755)
        self._path = f"{scontrol.parent}:{os.environ['PATH']}"

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", self._script],
            cwd=ROOT,
            env=os.environ | OFFLINE | environment | {"PATH": self._path, "SLURM_JOB_ID": JOB},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def until(reached: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Whether a process that is not ours to wait for has ended."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_a_run_over_two_allocations(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = tmp_path / "my config.yaml"
    config.write_text(f"""
run: {{name: job, dir: {tmp_path / "runs"}}}
base_model: {tiny / "models" / "base"}
foundation_models: [{tiny / "models" / "reverse"}, {tiny / "models" / "sort"}]
merge: {{method: slerp}}
evaluation:
  include: [{tiny / "tasks"}]
  tasks: [{{name: tiny_increment, limit: 40}}]
execution: {{devices: [cpu], report: false}}
stopping: [{{max_generations: 1}}]
""")
    printed = CliRunner().invoke(slurm.command, [str(config), "--partition", "long"])
    assert printed.exit_code == 0, printed.output
    lines = printed.stdout.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "#SBATCH --signal=B:USR1@120" in lines
    assert "#SBATCH --requeue" in lines
    assert "#SBATCH --partition=long" in lines
    assert not any("gpus" in line for line in lines), "the config names the CPU only"

    cluster = Cluster(tmp_path, printed.stdout)
    journal = tmp_path / "runs" / "job" / "journal.jsonl"
    job = cluster.start()
    until(lambda: journal.exists() and b"model_scored" in journal.read_bytes())
    job.send_signal(signal.SIGUSR1)
    _, said = job.communicate(timeout=600)
    assert job.returncode == 0, said
    assert cluster.asked.read_text() == f"requeue {JOB}\n"
    assert "stopped by SIGUSR1; everything done is kept" in said
    assert f"requeueing job {JOB}" in said
    before = fold(read_journal(journal).entries)
    assert not before.finished

    until(lambda: gone(int(cluster.second.read_text())))
    entries = read_journal(journal).entries
    assert fold(entries).finished, cluster.output.read_text()
    kinds = [entry.event.type for entry in entries]
    assert kinds.count("run_started") == kinds.count("run_resumed") == 1
    assert kinds.count("model_scored") == 3, "nothing was scored twice"
    assert cluster.asked.read_text() == f"requeue {JOB}\n", "a finished job is not queued again"


STOPS_AT_USR1 = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit({code}))
print("ready", file=sys.stderr, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("code", "requeues", "requeued"), [(75, 100, True), (75, 0, False), (3, 100, False)]
)
def test_what_is_queued_again(tmp_path: Path, code: int, requeues: int, requeued: bool) -> None:
    words = [sys.executable, "-c", STOPS_AT_USR1.format(code=code)]
    script = slurm.batch_script([], words, warning=120, requeues=requeues)
    cluster = Cluster(tmp_path, script)
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/bash\necho "$@" >> {cluster.asked}\n')
    job = cluster.start()
    assert job.stderr is not None
    assert job.stderr.readline() == "ready\n"
    job.send_signal(signal.SIGUSR1)
    job.communicate(timeout=300)
    assert job.returncode == (0 if requeued else code)
    assert cluster.asked.exists() is requeued


SRUN = """\
#!{python}
import os, signal, subprocess, sys
nodes = int(sys.argv[1].removeprefix("--nodes="))
words = sys.argv[sys.argv.index("bash"):]
steps = [
    subprocess.Popen(words, env=os.environ | {{"SLURM_NODEID": str(n)}}, start_new_session=True)
    for n in range(nodes)
]
def stop(*_):
    for step in steps:
        os.killpg(step.pid, signal.SIGTERM)
signal.signal(signal.SIGTERM, stop)
for step in steps:
    step.wait()
open({ended!r}, "w").close()
"""
COUNTS_NODES = """
import ray, signal, sys
ray.init(sys.argv[-1].partition("=")[2], log_to_driver=False, logging_level="ERROR")
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
print("nodes:", sum(node["Alive"] for node in ray.nodes()), file=sys.stderr, flush=True)
signal.pause()
"""


def test_several_nodes_are_a_ray_cluster_for_the_time_of_the_job(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = ["--nodes", "2", "--gpus", "8"]
    printed = CliRunner().invoke(slurm.command, [str(ROOT / "configs" / "tiny.yaml"), *words])
    for directive in ("nodes=2", "ntasks-per-node=1", "no-kill", "gpus-per-node=8", "requeue"):
        assert f"#SBATCH --{directive}\n" in printed.stdout
    words = [sys.executable, "-c", COUNTS_NODES]
    cluster = Cluster(tmp_path, slurm.batch_script([], words, warning=120, requeues=9, nodes=2))
    ended = tmp_path / "ended"
    for name, text in (
        ("scontrol", f'#!/bin/bash\necho "$@" >> {cluster.asked}\n'),
        ("srun", SRUN.format(python=sys.executable, ended=str(ended))),
    ):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    job = cluster.start(SLURM_CPUS_PER_TASK="1", RAY_OBJECT_STORE_MEMORY="80000000")
    assert job.stderr is not None
    said = []
    while "nodes: 2\n" not in said:
        said.append(job.stderr.readline())
        assert said[-1], said
    job.send_signal(signal.SIGUSR1)
    job.communicate(timeout=300)
    assert cluster.asked.read_text() == f"requeue {JOB}\n"
    until(ended.exists)
    assert not [line for line in said if "token" in line.lower()]


@pytest.mark.parametrize("code", [0, 2, 75])
def test_without_a_signal_nothing_is_queued_again(tmp_path: Path, code: int) -> None:
    words = [sys.executable, "-c", f"raise SystemExit({code})"]
    script = slurm.batch_script([], words, warning=120, requeues=100)
    cluster = Cluster(tmp_path, script)
    job = cluster.start()
    job.communicate(timeout=300)
    assert job.returncode == code
    assert not cluster.asked.exists()


def test_usr1_before_python_is_up(tmp_path: Path) -> None:
    """The default action of USR1 ends a process; the job must come back all the same."""
    words = ["sh", "-c", "echo ready >&2; exec sleep 600"]
    cluster = Cluster(tmp_path, slurm.batch_script([], words, warning=120, requeues=100))
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/bash\necho "$@" >> {cluster.asked}\n')
    job = cluster.start()
    assert job.stderr is not None
    assert job.stderr.readline() == "ready\n"
    job.send_signal(signal.SIGUSR1)
    job.communicate(timeout=300)
    assert cluster.asked.read_text() == f"requeue {JOB}\n"


@pytest.mark.parametrize(
    "words",
    [["--time", "soon"], ["--sbatch", "account=a\nx"], ["--sbatch", "--account"],
     ["--partition", 'a"b']],
)  # fmt: skip
def test_what_slurm_would_not_understand_is_refused(words: list[str]) -> None:
    result = CliRunner().invoke(slurm.command, [str(ROOT / "configs" / "tiny.yaml"), *words])
    assert isinstance(result.exception, UsageError)
