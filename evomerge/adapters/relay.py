"""Values handed to a thread of their own, so that what is done with them never holds up a run.

The run only puts values into a queue: an exception, a slow network or a call that never returns
in the thread does not affect it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

PATIENCE = 20.0
"""Seconds for what is still in the queue when the driver ends."""

Item = TypeVar("Item")


class Relay(Generic[Item]):
    """A queue and the thread that empties it.

    Args:
        name: of the thread.
        failed: called once with the error that ended the thread; nothing is taken any more.
        late: called if the thread is still busy after `patience` seconds at the end.
    """

    def __init__(
        self,
        name: str,
        failed: Callable[[BaseException], None],
        late: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        self._name = name
        self._failed = failed
        self._late = late
        self._patience = patience
        self._queue: SimpleQueue[Item | None] = SimpleQueue()
        self._off = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def off(self) -> bool:
        """Whether nothing is taken any more."""
        return self._off.is_set()

    @property
    def begun(self) -> bool:
        """Whether the thread was started."""
        return self._thread is not None

    def begin(self, consume: Callable[[Iterator[Item]], None]) -> None:
        """Start the thread: `consume` gets the values in order, until the end."""
        self._thread = threading.Thread(
            target=self._work, args=(consume,), name=self._name, daemon=True
        )
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over a value; returns at once."""
        if not self.off:
            self._queue.put(item)

    def close(self) -> None:
        """End the thread when its queue is empty, and wait for it within its patience."""
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive() and not self.off:
            self._off.set()
            self._late()

    def fail(self, error: BaseException) -> None:
        """Take nothing any more because of `error`."""
        if self.off:
            return
        self._off.set()
        while True:  # drain the queue, which has no reader any more
            try:
                self._queue.get_nowait()
            except Empty:
                break
        self._failed(error)

    def _work(self, consume: Callable[[Iterator[Item]], None]) -> None:
        try:
            consume(self._items())
        except BaseException as error:
            self.fail(error)

    def _items(self) -> Iterator[Item]:
        while (item := self._queue.get()) is not None:
            yield item
