"""`evomerge slurm`: a batch script that stops before its time limit, requeues and resumes."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from evomerge.cli.options import set_option
from evomerge.config import Config
from evomerge.config.texts import spread
from evomerge.configfile import load
from evomerge.domain.errors import UsageError

_TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")
_DIRECTIVE = re.compile(r"[a-z][a-z-]*(=[^\n]+)?")

BODY = """\
# Slurm sends USR1 to this shell {warning} s before the time limit; it is forwarded. evomerge then
# stops at once with exit code 75, finished work is kept, and the job is requeued: the same command
# resumes the run. A run that stops for another reason (a full disk, a damaged model: exit codes 75
# without USR1, 3, 2) is not requeued, since it would stop again.
ending=
pass_on() {{
    ending=$1
    [ -z "$run" ] || kill -s "$1" "$run" 2>/dev/null
}}
run=
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM
{before}
{command} &
run=$!
[ -z "$ending" ] || {{ sleep 1 && pass_on "$ending"; }}  # it came before the run had started

wait "$run"
while kill -0 "$run" 2>/dev/null; do  # a signal ends `wait` before the run has ended
    wait "$run"
done
wait "$run"  # its exit code, also if it ended while the signal was handled
code=$?
{after}
# 138: USR1 came while Python was starting.
case "$ending:$code" in
USR1:75 | USR1:138)
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
        echo "time limit reached; requeueing job $SLURM_JOB_ID" >&2
        exec scontrol requeue "$SLURM_JOB_ID"
    fi
    echo "time limit reached, and the job was requeued {requeues} times already" >&2
    ;;
esac
exit "$code"
"""


BEFORE = """
# A Ray cluster over the nodes of this job, with the head on the first one, where this shell runs.
# Only who has the token can use it. A node that fails does not end the job (--no-kill).
address=$(hostname --ip-address | cut -d' ' -f1):$((20000 + SLURM_JOB_ID % 20000))
RAY_AUTH_TOKEN=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \\n')
export address ray={ray} RAY_AUTH_TOKEN RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
srun --nodes={nodes} --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \\
    --kill-on-bad-exit=0 bash -c '
    start() {{ "$ray" start --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats --block "$@"; }}
    if [ "$SLURM_NODEID" = 0 ]; then
        start --head --port="${{address##*:}}" --node-ip-address="${{address%:*}}" \\
            --include-dashboard=false
    else
        until start --address="$address"; do sleep 5; done
    fi' &
cluster=$!
{python} -c '
import sys, time, ray
for _ in range(150):
    try:
        ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
        if sum(node["Alive"] for node in ray.nodes()) >= int(sys.argv[2]):
            sys.exit()
    except ConnectionError:
        pass
    time.sleep(2)
sys.exit("not all nodes joined the Ray cluster within five minutes; going on without them")
' "$address" {nodes}
"""
AFTER = """kill "$cluster" 2>/dev/null
"""


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@set_option
@click.option("--partition", help="Partition of the cluster.")
@click.option(
    "--nodes", type=click.IntRange(1), default=1, show_default=True,
    help="With two or more, the job starts a Ray cluster over them.",
)  # fmt: skip
@click.option("--gpus", type=click.IntRange(0), help="Default: one per device in the config.")
@click.option("--cpus", type=click.IntRange(1), default=8, show_default=True, help="CPU cores.")
@click.option("--memory", help="RAM, for example 64G. Default: the cluster's.")
@click.option("--time", "limit", default="24:00:00", show_default=True, help="Of one allocation.")
@click.option(
    "--warning", type=click.IntRange(30, 65535), default=120, show_default=True,
    help="Seconds before the time limit at which the run stops.",
)  # fmt: skip
@click.option(
    "--requeues", type=click.IntRange(0), default=100, show_default=True,
    help="How often the job may requeue itself.",
)  # fmt: skip
@click.option(
    "--sbatch", "further", multiple=True, metavar="NAME[=VALUE]",
    help="A further directive: --sbatch account=abc. May be repeated.",
)  # fmt: skip
def command(
    config: Path,
    overrides: tuple[str, ...],
    partition: str | None,
    nodes: int,
    gpus: int | None,
    cpus: int,
    memory: str | None,
    limit: str,
    warning: int,
    requeues: int,
    further: tuple[str, ...],
) -> None:
    """Print a Slurm batch script that runs CONFIG over as many allocations as needed.

    The job runs in the current folder and writes its output there.

    \b
        evomerge slurm my.yaml --partition gpu --time 08:00:00 > my.sbatch
        sbatch my.sbatch

    --gpus, --cpus and --memory are of each node. With several nodes the run has
    `execution.executor: ray`; run.dir has to be on a file system that all of them mount.

    If compute nodes have no network, download models and tasks on the login node first and
    set HF_HUB_OFFLINE=1: the job inherits the environment.
    """
    loaded = load(config, overrides)
    if not _TIME.fullmatch(limit):
        raise UsageError(
            f"--time: {limit!r} is not a Slurm time limit", "write 30, 08:00:00 or 2-00:00:00"
        )
    if wrong := next((each for each in further if not _DIRECTIVE.fullmatch(each)), None):
        raise UsageError(f"--sbatch: expected NAME or NAME=VALUE, got {wrong!r}", "account=abc")
    wanted = devices_of(loaded) if gpus is None else gpus
    directives = [
        f"job-name={loaded.run.name}",
        f"chdir={_quoted(str(Path.cwd()))}",
        f"output={loaded.run.name}-%j.log",
        "open-mode=append",
        f"nodes={nodes}",
        *(["ntasks-per-node=1", "no-kill"] if nodes > 1 else ["ntasks=1"]),
        *([f"partition={_quoted(partition)}"] if partition else []),
        *([f"gpus-per-node={wanted}"] if wanted else []),
        f"cpus-per-task={cpus}",
        *([f"mem={_quoted(memory)}"] if memory else []),
        f"time={limit}",
        "requeue",
        f"signal=B:USR1@{warning}",
        *further,
    ]
    words = [*evomerge_command(), "run", str(config), "--plain"]
    words += [word for override in overrides for word in ("--set", override)]
    click.echo(
        batch_script(directives, words, warning=warning, requeues=requeues, nodes=nodes), nl=False
    )


def batch_script(
    directives: Sequence[str],
    words: Sequence[str],
    *,
    warning: int,
    requeues: int,
    nodes: int = 1,
) -> str:
    """A batch script that forwards USR1 and TERM to the command `words`.

    Args:
        directives: `name` or `name=value`, for `#SBATCH --`.
        warning: seconds between USR1 and the end of the allocation.
        requeues: how often the job may requeue itself; without a limit, a run whose single steps
            exceed an allocation would loop forever.
        nodes: with two or more, of a Ray cluster that the command runs on.
    """
    lines = ["#!/bin/bash", *(f"#SBATCH --{directive}" for directive in directives), ""]
    command, before, after = shlex.join(words), "", ""
    if nodes > 1:
        python, ray = Path(sys.executable), Path(sys.executable).with_name("ray")
        quoted = {"python": shlex.quote(str(python)), "ray": shlex.quote(str(ray))}
        before, after = BEFORE.format(nodes=nodes, **quoted), AFTER
        command += ' --set execution.executor=ray --set execution.address="$address"'
    return (
        "\n".join(lines)
        + "\n"
        + BODY.format(
            command=command, warning=warning, requeues=requeues, before=before, after=after
        )
    )


def devices_of(config: Config) -> int:
    """The number of GPUs that the config names; 1 if devices are chosen at run time."""
    devices = set(spread(config.execution.devices))
    if "auto" in devices:
        return 1
    return sum(device.startswith(("cuda", "xpu")) for device in devices)


def evomerge_command() -> list[str]:
    """The command of this installation, independent of PATH and virtual environments."""
    script = Path(sys.executable).with_name("evomerge")
    return [str(script)] if script.is_file() else [sys.executable, "-P", "-m", "evomerge"]


def _quoted(text: str) -> str:
    """A quoted value of a directive; Slurm has double quotes but no escape character.

    Raises:
        UsageError: the text contains a quote or a newline.
    """
    if any(mark in text for mark in '"\n\\'):
        raise UsageError(f"{text!r} cannot be in a Slurm directive", "choose another folder")
    return f'"{text}"' if re.search(r"[\s#']", text) else text
