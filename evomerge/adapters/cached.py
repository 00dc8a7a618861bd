"""A worker that caches its answers about settings in the store, so that it need not start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evomerge.ports import Operation, Progress, Worker
from evomerge.store.cache import Cache

Basis = Callable[[Operation, str], dict[str, Any] | None]
"""Everything that a worker's answer on a device depends on; None if that cannot be determined."""


class CachedWorker:
    """Implements `Worker` over a child; answers to `check` and `describe` are cached.

    Args:
        device: the child's.
        bases: by kind of operation, the function that returns what its answer depends on.
    """

    def __init__(
        self, child: Worker, device: str, bases: Mapping[str, Basis], cache: Cache
    ) -> None:
        self.name = child.name
        self.kinds = child.kinds
        self.host = child.host
        self.start = child.start
        self.close = child.close
        self._child = child
        self._device = device
        self._bases = bases
        self._cache = cache
        self._found: tuple[dict[str, Any], dict[str, Any]] | None = None

    def run(self, operation: Operation, progress: Progress) -> dict[str, Any]:
        """The answer to `operation`, from the cache or the child; see `Child.run`."""
        basis = self._bases.get(operation.kind)
        if basis is None:
            answer = self._child.run(operation, progress)
            self._drop_contradicted(answer)
            return answer
        rests_on = basis(operation, self._device)
        known = None if rests_on is None else self._cache.get(rests_on)
        if rests_on is not None and known is not None:
            if "ids" in known:
                self._found = rests_on, known
            return known
        answer = self._child.run(operation, progress)
        # Not cached if it changed meanwhile: the child may have read either version.
        if rests_on is not None and basis(operation, self._device) == rests_on:
            self._cache.put(rests_on, answer)
        return answer

    def _drop_contradicted(self, answer: Mapping[str, Any]) -> None:
        """Drop a cached description that a score contradicts."""
        if self._found is not None and "evaluation_id" in answer:
            rests_on, known = self._found
            if answer["evaluation_id"] not in known["ids"].values():
                self._cache.drop(rests_on)
