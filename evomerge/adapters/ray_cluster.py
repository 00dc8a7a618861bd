"""A Ray cluster as seen by the driver: the connection, its nodes, and checks before a run.

Ray is imported only here and in `ray_worker`, and only with `execution.executor: ray`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from evomerge import __version__
from evomerge.adapters.machine import LIBRARIES, existing, installed
from evomerge.adapters.redaction import Redactor
from evomerge.config import Config, ExecutionConfig, WorkerResources
from evomerge.domain.errors import PreflightError, StoppedError
from evomerge.domain.finding import Finding

T = TypeVar("T")

_POLL = 0.5
_BEAT = 3.0
"""Seconds between looks at whether the head of the cluster still answers."""
PATIENCE = 30.0
"""Seconds without an answer after which the run stops; after 60 Ray itself ends this process."""
_CONNECTING = 30.0
"""Seconds within which a cluster has to take the connection."""
_LOOKING = 120.0
"""Seconds that a node has for answering the checks before a run."""
_ROUNDING = 1e-6
_TOKEN = "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"  # noqa: S105


@dataclass(frozen=True)
class Node:
    """A living node: its id, its host, and its resources as Ray names them."""

    id: str
    host: str
    resources: dict[str, float]

    def __str__(self) -> str:
        cpus, gpus = (self.resources.get(kind, 0.0) for kind in ("CPU", "GPU"))
        memory = self.resources.get("memory", 0.0) / 1e9
        return f"{self.host} ({cpus:g} CPUs, {gpus:g} GPUs, {memory:.0f} GB)"


@dataclass(frozen=True)
class Share:
    """What each of `count` workers reserves of a node; the fields are Ray's options.

    Attributes:
        count: None for as many as there is room for.
    """

    what: str
    count: int | None
    num_cpus: float
    num_gpus: float
    memory: int

    def fit(self, free: dict[str, float]) -> bool:
        """Whether one more worker fits into what is free on a node."""
        return all(free.get(kind, 0.0) + _ROUNDING >= size for kind, size in self._sizes)

    def take(self, free: dict[str, float]) -> None:
        """Reserve one worker's resources."""
        for kind, size in self._sizes:
            free[kind] -= size

    @property
    def _sizes(self) -> list[tuple[str, float]]:
        sizes = (("CPU", self.num_cpus), ("GPU", self.num_gpus), ("memory", float(self.memory)))
        return [(kind, size) for kind, size in sizes if size]

    def __str__(self) -> str:
        memory = f"{self.memory / 1e9:g} GB" if self.memory else ""
        sizes = (f"{self.num_cpus:g} CPUs", f"{self.num_gpus:g} GPUs" * bool(self.num_gpus), memory)
        return ", ".join(filter(None, sizes))


class Cluster:
    """The connection to a Ray cluster, made on first use; only one per process at a time.

    Args:
        log: file for what Ray says.
    """

    def __init__(self, execution: ExecutionConfig, log: Path | None = None) -> None:
        self.address = execution.address
        self._execution = execution
        self._log = log
        self._ours = False
        self._ended = threading.Event()
        self._silent_since: float | None = None

    def connect(self) -> None:
        """Connect, once.

        Raises:
            PreflightError: Ray is not installed, there is no cluster at the address, it has
                another version of Ray or Python, or it refuses the connection.
        """
        if self._ours:
            return
        try:
            import ray
        except ImportError:
            raise PreflightError(
                "execution.executor: Ray is not installed here", "pip install 'evomerge[ray]'"
            ) from None
        if self.address != "auto":
            self._knock()
        logging.getLogger("ray").setLevel(logging.ERROR)
        connecting = partial(
            ray.init,
            self.address,
            log_to_driver=False,
            configure_logging=False,
            logging_level="ERROR",
            ignore_reinit_error=True,
        )
        said: list[str] = []
        # In a thread, where Ray leaves the driver's signal handlers alone.
        try:
            with _stderr_into(said):
                in_thread(connecting).result(timeout=_CONNECTING)
        except Exception as error:
            raise self._refused(error, " ".join(said)) from error
        finally:
            self.note(*said)
        self._ours = True
        self._hear()
        threading.Thread(target=self._watch, name="ray", daemon=True).start()

    def _knock(self) -> None:
        """Check quickly that something listens: Ray would try for a minute."""
        try:
            socket.create_connection(_place(self.address), timeout=10).close()
        except OSError as error:
            raise PreflightError(
                f"execution.address: no Ray cluster answers at {self.address} "
                f"({error.strerror or error})",
                "start it with `ray start --head --port 6379`, or correct the address",
            ) from None

    def _refused(self, error: Exception, said: str) -> PreflightError:
        """The error of a connection that failed, in one line; Ray `said` the rest to stderr."""
        text = " ".join(str(error).split())
        if "InvalidAuthToken" in said:
            text = "its token is missing or incorrect"
        elif isinstance(error, TimeoutError) and not text:
            return PreflightError(
                f"execution.address: what listens at {self.address} did not answer "
                f"as a Ray cluster within {_CONNECTING:.0f} s",
                f"correct the address, or, if the cluster asks for a token: {_TOKEN}",
            )
        if "Version mismatch" in text:
            found = text.partition("The cluster was started with:")[2] or text
            return PreflightError(
                "execution.address: the cluster has another version of Ray or Python: "
                f"{found.strip().replace(' This process', '; this process')}",
                "install the same versions of Python, ray and evomerge on every node",
            )
        if "InvalidAuthToken" in said or "uthentication" in text + type(error).__name__:
            return PreflightError(
                f"execution.address: the cluster at {self.address} refuses this process: "
                f"{text.partition('. ')[0][:200]}",
                f"give it the token of the cluster: {_TOKEN}",
            )
        if "ray[client]" in text or "grpc" in text:
            return PreflightError(
                "execution.address: ray:// needs Ray's client", "pip install 'ray[client]'"
            )
        where = (
            "on this machine or in RAY_ADDRESS" if self.address == "auto" else f"at {self.address}"
        )
        return PreflightError(
            f"execution.address: no Ray cluster was found {where}: {text[:200]}",
            "start one with `ray start --head`, and evomerge on one of its nodes; or set "
            f"`execution.address`; if the cluster asks for a token: {_TOKEN}",
        )

    def _hear(self) -> None:
        """Write Ray's own messages to the log: it prints them to stdout, among a command's JSON."""
        from ray._private import worker

        def to_log(data: dict[str, Any], *_: object, **__: object) -> None:
            self.note(*map(str, data.get("lines", ())))

        worker.print_to_stdstream = to_log

    def note(self, *lines: str) -> None:
        """Append lines with the time to the log, if there is one; errors are ignored."""
        if self._log is not None:
            now, redact = time.strftime("%Y-%m-%d %H:%M:%S"), Redactor(os.environ)
            with contextlib.suppress(OSError):
                self._log.parent.mkdir(exist_ok=True)
                with self._log.open("a", encoding="utf-8") as file:
                    file.writelines(f"{now} {redact(line)}\n" for line in lines)

    def _watch(self) -> None:
        """Note since when the head of the cluster has not answered."""
        import ray

        at = _place(self.address) if self.address.startswith("ray://") else None
        at = at or _place(ray.get_runtime_context().gcs_address)
        while not self._ended.wait(_BEAT):
            try:
                socket.create_connection(at, timeout=_BEAT).close()
                self._silent_since = None
            except OSError:
                self._silent_since = self._silent_since or time.monotonic()

    def check(self) -> None:
        """Check that the cluster still answers.

        Raises:
            StoppedError: it has not for a while.
        """
        if self.is_gone:
            raise StoppedError(
                f"the head of the Ray cluster ({self.address}) has not answered for "
                f"{PATIENCE:.0f} s; resume when there is a cluster again"
            )

    def call(self, ask: Callable[[], T]) -> T:
        """The result of a call that Ray may not return from while the head is gone.

        Raises:
            StoppedError: the cluster has not answered for a while.
        """
        answer = in_thread(ask)
        while True:
            try:
                return answer.result(timeout=_POLL)
            except TimeoutError:
                if answer.done():
                    raise
                self.check()

    @property
    def is_gone(self) -> bool:
        """Whether the head has not answered for a while."""
        since = self._silent_since
        return since is not None and time.monotonic() - since > PATIENCE

    def close(self) -> None:
        """Disconnect, which ends the actors of this driver."""
        self._ended.set()
        if not self._ours:
            return
        self._ours = False
        import ray

        leaving = threading.Thread(target=ray.shutdown, daemon=True)
        leaving.start()
        leaving.join(5 if self.is_gone else None)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The living nodes, by host."""
        import ray

        self.connect()
        found = (
            Node(each["NodeID"], each["NodeManagerHostname"], dict(each["Resources"]))
            for each in ray.nodes()
            if each["Alive"]
        )
        return tuple(sorted(found, key=lambda node: (node.host, node.id)))

    def shares(self, config: Config, nodes: Sequence[Node]) -> tuple[Share, Share]:
        """The resources and the number of evaluation and of merge workers.

        Raises:
            PreflightError: the cluster has no room for them; says how much is missing.
        """
        execution = config.execution
        have_gpus = any(node.resources.get("GPU") for node in nodes)
        each = config.evaluation.gpus_per_engine if have_gpus else 0
        scoring = _share(
            "evaluation", execution.evaluation_workers, execution.evaluation, float(each)
        )
        on_gpu = float(config.merge.options.on_gpu)
        merging = _share("merge", execution.merge_workers, execution.merge, on_gpu)
        return _room(nodes, scoring, merging), merging

    def gpus(self, config: Config) -> int:
        """The GPUs of the evaluation workers; raises as `shares`."""
        scoring, _ = self.shares(config, self.nodes)
        return math.ceil((scoring.count or 1) * scoring.num_gpus)


@contextlib.contextmanager
def _stderr_into(said: list[str]) -> Iterator[None]:
    """Append what is written to stderr to `said`, by Ray's C++ part too, which no setting mutes."""
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            said += file.read().splitlines()


def in_thread(ask: Callable[[], T]) -> Future[T]:
    """The coming result of a call in a thread that does not keep the process from ending."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="ray call", daemon=True).start()
    return answer


def _share(what: str, count: int | None, wanted: WorkerResources, gpus: float) -> Share:
    given = gpus if wanted.gpus is None else wanted.gpus
    return Share(what, count, wanted.cpus, given, round(wanted.memory_gb * 1e9))


def _room(nodes: Sequence[Node], scoring: Share, merging: Share) -> Share:
    """`scoring` with the number of workers that fit beside the merge workers."""
    free = [dict(node.resources) for node in nodes]
    first = Share(scoring.what, 1, scoring.num_cpus, scoring.num_gpus, scoring.memory)
    placed = _placed(free, first, scoring.count or 1)
    merges = _placed(free, merging, merging.count or 1)
    for share, count in ((scoring, placed), (merging, merges)):
        missing = (share.count or 1) - count
        if missing:
            raise PreflightError(
                f"the cluster has no room for {missing} of {share.count or 1} {share.what} "
                f"workers, each with {share}; its nodes: {', '.join(map(str, nodes)) or 'none'}",
                f"add nodes, or lower `execution.{share.what}` or `execution.{share.what}_workers`",
            )
    further = 0 if scoring.count else _placed(free, first, 4096)
    return Share(scoring.what, placed + further, scoring.num_cpus, scoring.num_gpus, scoring.memory)


def _placed(free: list[dict[str, float]], share: Share, count: int) -> int:
    """How many of `count` workers fit; their resources are taken, emptiest node first."""
    for number in range(count):
        fitting = [each for each in free if share.fit(each)]
        if not fitting:
            return number
        # A worker without a GPU leaves nodes with GPUs to others.
        share.take(
            max(fitting, key=lambda f: (-f.get("GPU", 0) * (not share.num_gpus), f.get("CPU", 0)))
        )
    return count


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return host.strip("[]"), int(port)


def findings(cluster: Cluster, config: Config, folders: Iterable[Path]) -> Iterator[Finding]:
    """Check the nodes: room for the workers, folders that each must see, the same versions.

    Args:
        folders: files and folders of the run that a worker reads or writes; the first one is the
            runs folder, or is to become it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = cluster.nodes
    runs, *read = (each.expanduser().absolute() for each in folders)
    try:
        scoring, merging = cluster.shares(config, nodes)
    except PreflightError as error:
        yield Finding("problem", "Ray", error.message, error.remedy)
    else:
        text = f"{scoring.count} workers for evaluation ({scoring}), {merging.count} for merges"
        yield Finding("fine", "Ray", f"{len(nodes)} nodes; {text} ({merging})")
    libraries = (*LIBRARIES, *(["vllm"] if config.evaluation.backend == "vllm" else []))
    here = versions(libraries)
    with tempfile.NamedTemporaryFile(dir=existing(runs), prefix=".evomerge-cluster-") as marker:
        asked = [
            ray.remote(look)
            .options(
                num_cpus=0,
                max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            )
            .remote(marker.name, [str(each) for each in read], libraries)
            for node in nodes
        ]
        ray.wait(asked, num_returns=len(asked), timeout=_LOOKING)
        for node, answer in zip(nodes, asked, strict=True):
            yield from _of_node(node, answer, here, runs)


def _of_node(node: Node, answer: Any, here: dict[str, str], runs: Path) -> Iterator[Finding]:
    """The findings about one node."""
    import ray

    subject = f"node {node.host}"
    try:
        seen = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        text = f"it did not answer within {_LOOKING:.0f} s"
        yield Finding("problem", subject, text, "see `ray status`, or take it out of the cluster")
        return
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1][:200]
        text = f"evomerge {__version__} cannot be used there: {last}"
        yield Finding("problem", subject, text, "install the same evomerge[ray] on every node")
        return
    differing = [
        f"{name} {seen['versions'].get(name)} (here {version})"
        for name, version in here.items()
        if seen["versions"].get(name) != version
    ]
    if differing:
        text = f"other versions there: {', '.join(differing)}"
        yield Finding("problem", subject, text, "install the same versions on every node")
    if seen["trouble"]:
        text = f"{runs} is not shared with it: {seen['trouble']}"
        remedy = "choose a `run.dir` on a file system that all nodes mount at the same path"
        yield Finding("problem", subject, text, remedy)
    if seen["missing"]:
        text = f"it does not see {', '.join(seen['missing'])}"
        remedy = "models and tasks have to be at the same path on every node (HF_HOME on a shared "
        yield Finding("problem", subject, text, remedy + "file system)")
    if not (differing or seen["trouble"] or seen["missing"]):
        yield Finding("fine", subject, f"{node}: sees the runs folder, has the same versions")


def look(marker: str, folders: Sequence[str], libraries: Sequence[str]) -> dict[str, Any]:
    """What a node sees; runs there.

    Args:
        marker: a file that the driver keeps in the runs folder.
        folders: files and folders that workers read.
    """
    trouble = None
    if not Path(marker).exists():
        trouble = "the driver's file is not there"
    else:
        try:
            with tempfile.NamedTemporaryFile(dir=Path(marker).parent, prefix=".evomerge-cluster-"):
                pass
        except OSError as error:
            trouble = f"it cannot write there ({error.strerror})"
    missing = [each for each in folders if not Path(each).exists()]
    return {"versions": versions(libraries), "trouble": trouble, "missing": missing}


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """The versions of what determines results, here."""
    found = {name: installed(name) or "missing" for name in libraries}
    return {"evomerge": __version__, "Python": platform.python_version(), **found}
