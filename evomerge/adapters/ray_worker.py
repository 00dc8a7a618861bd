"""A worker in an actor of a Ray cluster: the child process of a local worker, on another node.

The actor lives for the run and hosts the same `Child`, so nothing differs below it. It is not
detached: Ray ends it with its driver, and its child process ends with it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evomerge.adapters.child import Child, raised
from evomerge.adapters.ray_cluster import Cluster, Share
from evomerge.domain.errors import CandidateError, EvomergeError, StoppedError, WorkerLostError
from evomerge.ports import Operation, Progress

PASSED_ON = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
"""Variables of the driver that its remote child processes get; secrets are not among them."""

_POLL = 0.5
_NEWS_EVERY, _NEWS_AFTER = 1.0, 10.0
"""Seconds between two reports of progress, and after which one comes without progress."""
_GRACE = 30.0
"""Seconds beyond the time limit of an operation after which its actor counts as lost."""
_UP_WITHIN = 600.0
"""Seconds within which a node must have room for an actor."""


class Host:
    """The actor, with a child process; its methods run in threads of their own."""

    def __init__(
        self,
        module: str,
        kinds: Sequence[str],
        log: str,
        environment: Mapping[str, str],
        name: str,
        device: str,
    ) -> None:
        self._child = Child(module, kinds, Path(log), environment, name=name, device=device)
        self._changed = threading.Condition()
        self._progress = (0, 0)
        self._busy = False

    def hostname(self) -> str:
        """The host of this node."""
        return socket.gethostname()

    def start(self) -> None:
        """Start the child process in the background."""
        self._child.start()

    def run(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        """`{"result": ..}` of an operation or `{"error": ..}`, as `evomerge.adapters.serve`."""
        self._note(busy=True, progress=(0, 0))
        try:
            result = self._child.run(Operation.model_validate(operation), self._report)
        except EvomergeError as error:
            described = {"message": error.message, "remedy": error.remedy}
            return {"error": {"type": type(error).__name__, **described}}
        finally:
            self._note(busy=False, progress=self._progress)
        return {"result": result, "progress": self._progress}

    def _report(self, done: int, total: int) -> None:
        self._note(busy=True, progress=(done, total))

    def _note(self, *, busy: bool, progress: tuple[int, int]) -> None:
        with self._changed:
            self._busy, self._progress = busy, progress
            self._changed.notify_all()

    def news(self, seen: Sequence[int]) -> tuple[int, int]:
        """The progress of the operation when it is no longer `seen`, or after a while."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, _NEWS_EVERY)
            known = tuple(seen)
            self._changed.wait_for(lambda: not self._busy or self._progress != known, _NEWS_AFTER)
            return self._progress

    def close(self) -> None:
        """End the child process; a running operation fails at once."""
        self._child.close()


class RayWorker:
    """Implements `Worker` over an actor; made like `Child`, from the third argument on.

    Args:
        share: the resources that the actor reserves.
    """

    def __init__(
        self,
        cluster: Cluster,
        share: Share,
        module: str,
        kinds: Iterable[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        name: str = "",
        device: str = "cpu",
    ) -> None:
        self.kinds = frozenset(kinds)
        self.host = ""
        self._title = name or module.rpartition(".")[2]
        self._cluster = cluster
        self._share = share
        passed = {each: os.environ[each] for each in PASSED_ON if each in os.environ}
        self._words = (
            module,
            sorted(self.kinds),
            str(log.absolute()),
            {**passed, **(environment or {})},
            self._title,
            device,
        )
        self._lock = threading.Lock()
        self._actor: Any = None
        self._closings = 0
        self._launched()

    @property
    def name(self) -> str:
        """What it is and, once it is there, on which host."""
        return f"{self._title} on {self.host}" if self.host else self._title

    def _launched(self) -> Any:
        """The actor, which Ray places as soon as a node has room."""
        import ray

        with self._lock:
            if self._actor is None:
                self._cluster.connect()
                options = {
                    "num_cpus": self._share.num_cpus,
                    "num_gpus": self._share.num_gpus,
                    "memory": self._share.memory or None,
                    "scheduling_strategy": "SPREAD",
                    "max_restarts": 0,  # made again here, when the pool asks for it
                    "max_concurrency": 8,
                }
                made = ray.remote(Host).options(**options)
                self._actor = self._cluster.call(partial(made.remote, *self._words))
                self.host = ""
            return self._actor

    def start(self) -> None:
        """Wait until a node has the actor, and start its child process in the background.

        Raises:
            WorkerLostError: the actor was lost meanwhile.
            StoppedError: no node has room for it, or the cluster is gone.
        """
        actor = self._placed("start")
        actor.start.remote()

    def run(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """The answer of the child process to `operation`; see `Child.run`.

        Raises:
            WorkerLostError: the actor, its node or its answer was lost.
            StoppedError: no node has room for the actor, or the cluster is gone.
        """
        actor = self._placed(operation.kind)
        sent = operation.model_dump(mode="json")
        answered = self._awaited(
            actor, partial(actor.run.remote, sent), operation.kind, operation.seconds, progress
        )
        if "error" in answered:
            raise raised(answered["error"])
        if tuple(answered["progress"]) != (0, 0):
            progress(*answered["progress"])
        result: dict[str, Any] = answered["result"]
        return result

    def close(self) -> None:
        """End the child process; a running operation raises CandidateError. The actor stays."""
        import ray

        if self._cluster.is_gone:
            return
        with self._lock:
            actor = self._actor
            self._closings += 1
        if actor is None:
            return
        try:
            ray.get(actor.close.remote(), timeout=_GRACE if self.host else 0)
        except (ray.exceptions.RayError, ConnectionError):
            self._drop(actor)

    def _placed(self, kind: str) -> Any:
        """The actor, once it is on a node."""
        actor = self._launched()
        if not self.host:
            self.host = self._awaited(actor, actor.hostname.remote, kind, _UP_WITHIN, None)
            self._cluster.note(f"{self.name} (log: {Path(self._words[2]).name})")
        return actor

    def _awaited(
        self,
        actor: Any,
        call: Callable[[], Any],
        kind: str,
        seconds: float | None,
        progress: Progress | None,
    ) -> Any:
        """The answer to a call of the actor, with progress until then."""
        import ray

        closings = self._closings
        try:
            return self._waited(actor, call(), kind, seconds, progress)
        except ray.exceptions.RayTaskError as error:
            self._drop(actor)
            raise CandidateError(f"{self.name}: {str(error).strip().splitlines()[-1]}") from error
        except (ray.exceptions.RayError, ConnectionError) as error:
            self._drop(actor)
            if self._closings != closings:
                raise CandidateError(f"{self.name} was closed during {kind!r}") from None
            self._cluster.check()
            first = str(error).strip().partition("\n")[0][:200]
            what = f"{self.name} was lost during {kind!r}: {type(error).__name__}: {first}"
            self._cluster.note(what)
            raise WorkerLostError(what) from error
        except StoppedError:
            raise
        except BaseException:
            self._drop(actor)
            raise

    def _waited(
        self, actor: Any, answer: Any, kind: str, seconds: float | None, progress: Progress | None
    ) -> Any:
        """The value of `answer`; raises Ray's errors."""
        import ray

        seen = (0, 0)
        deadline = None if seconds is None else time.monotonic() + seconds + _GRACE
        news = actor.news.remote(seen) if progress else None
        while True:
            ready, _ = ray.wait([each for each in (answer, news) if each], timeout=_POLL)
            if answer in ready:
                return ray.get(answer)
            if ready and progress:
                if (now := tuple(ray.get(news))) != seen:
                    seen = now
                    progress(*seen)
                news = actor.news.remote(seen)
            self._cluster.check()
            if deadline is not None and time.monotonic() > deadline:
                raise self._late(kind, seconds or 0)

    def _late(self, kind: str, seconds: float) -> EvomergeError:
        if self.host:
            return WorkerLostError(f"{self.name} has not answered {kind!r} within {seconds:g} s")
        return StoppedError(
            f"no node had room for {self._title} ({self._share}) within {seconds:g} s",
            "see `ray status`: other jobs may hold the resources; then resume",
        )

    def _drop(self, actor: Any) -> None:
        """End an actor that cannot be trusted any more; the next operation makes another one."""
        import ray

        with self._lock:
            if self._actor is actor:
                self._actor = None
        with contextlib.suppress(ray.exceptions.RayError, ConnectionError, StoppedError):
            self._cluster.call(partial(ray.kill, actor))
