"""A landscape whose operations can be held, and a driver of it over Ray, for `test_ray`.

As a child module: while the folder `$HELD` has a file named like an operation's kind, the operation
leaves a file `<kind>.<pid of its process>` there and waits.

    python held_landscape.py ADDRESS FOLDER HELD [PATIENCE]

runs or resumes the landscape run in FOLDER on a cluster and prints its digest.
PATIENCE is that with a head that does not answer, in seconds.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from evomerge.adapters import ray_cluster
from evomerge.adapters.ray_cluster import Cluster, Share
from evomerge.adapters.ray_worker import RayWorker
from evomerge.config import ExecutionConfig
from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import EvomergeError
from evomerge.testing.landscape import (
    LandscapeEvaluator,
    LandscapeMerger,
    LandscapeMeter,
    LandscapeWorker,
)
from evomerge.testing.landscape_run import LandscapeWorkplace, landscape_config, run_landscape

SHARE = Share("landscape", 1, 0.25, 0.0, 0)
MODULE = Path(__file__).stem
KINDS = LandscapeWorker.kinds


def operations(device):
    worker, held = LandscapeWorker(), Path(os.environ["HELD"])

    def do(kind, operation, progress):
        progress(1, 3)
        while (held / kind).exists():
            (held / f"{kind}.{os.getpid()}").touch()
            time.sleep(0.02)
        return getattr(worker, kind)(operation, progress)

    return {kind: partial(do, kind) for kind in KINDS}


def ray_worker(cluster, logs, held, kinds=KINDS, name="landscape"):
    """A worker over an actor whose child process is this module."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {"HELD": str(held), "PYTHONPATH": path}
    return RayWorker(cluster, SHARE, MODULE, kinds, logs / f"{name}.log", environment, name=name)


def run(cluster, root, held, observer=None, config=None):
    """Run or resume a landscape run: two workers score, one merges, one measures."""
    start = partial(ray_worker, cluster, root / "logs", held)
    workplace = LandscapeWorkplace(
        root,
        config or landscape_config(execution={"attempts": 1}),
        merger=start(LandscapeMerger.kinds, "merging"),
        evaluators=tuple(start(LandscapeEvaluator.kinds, f"scoring-{n}") for n in (0, 1)),
        meter=start(LandscapeMeter.kinds, "measuring"),
    )
    return run_landscape(root, workplace.config, workplace, observer)


def main():
    address, root, held, *patience = sys.argv[1:]
    if patience:
        ray_cluster.PATIENCE = float(*patience)
    with closing(Cluster(ExecutionConfig(address=address))) as cluster:
        try:
            state = run(cluster, Path(root), Path(held))
        except EvomergeError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    sys.stdout.write(decision_digest(state) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
