"""A signal as it may come: just before a wait."""

import signal
import threading
import time

import pytest


@pytest.fixture
def unnoticed():
    """Sends a signal that ends no wait of the main thread: it is delivered to the caller."""

    def stop(signum, frame):
        raise InterruptedError

    def send():
        time.sleep(0.1)  # the main thread waits by now
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    yield send
    signal.signal(signal.SIGUSR1, before)
