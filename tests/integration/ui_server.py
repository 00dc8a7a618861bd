"""A server of `evomerge ui` in this process, and runs to show, for `test_ui`."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
import time
from pathlib import Path

from evomerge.domain.events import ModelScored, RunStarted
from evomerge.domain.kinship import Metric
from evomerge.domain.model import Foundation
from evomerge.domain.scores import Scores, TaskScore
from evomerge.domain.state import Entry
from evomerge.store.artefacts import Store
from evomerge.store.run_directory import RunDirectory
from evomerge.store.samples import evaluation_name, samples_file
from evomerge.testing.landscape_run import SilentObserver, run_landscape
from evomerge.ui.access import Access
from evomerge.ui.serving import Server
from evomerge.ui.site import Site
from evomerge.ui.watching import RunsFolder

MARKUP = '<script>alert("x")</script> & <b>'
NAMES = (MARKUP, "$x^2$ ' \"", "</title></script>", "ü\u202e{{ 7*7 }}/../?a=b#c")


@contextlib.contextmanager
def served(site):
    """The address at which a site is served."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(site)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def site_of(folder, **access):
    return Site(RunsFolder(folder), Access(**access))


class Held(SilentObserver):
    """Holds a run after every event until `step` lets it go on."""

    def __init__(self):
        self._steps = threading.Semaphore(0)
        self._free = False
        self.events = 0

    def on_event(self, event, state):
        self.events += 1
        if not self._free:
            self._steps.acquire()

    def step(self, times=1):
        self._steps.release(times)

    def go(self):
        self._free = True
        self._steps.release(100)


@contextlib.contextmanager
def going_on(root):
    """A landscape run that goes on in a thread, and the hand on its brake."""
    held = Held()
    thread = threading.Thread(target=run_landscape, args=(root,), kwargs={"observer": held})
    thread.start()
    try:
        yield held
    finally:
        held.go()
        thread.join()


def many(folder, number):
    """`number` copies of a finished landscape run below `folder`."""
    run_landscape(folder.parent)
    first = folder / "landscape"
    for place in range(1, number):
        shutil.copytree(first, folder / f"landscape-{place:02}", symlinks=True)


def logged_run(folder, name, names=NAMES, items=60, prompt=lambda item: f"{MARKUP} {item}"):
    """A run of foundation models only, each with a sample log of a task.

    Model number n solves the items whose index is divisible by n + 2.
    """
    run, store = RunDirectory(folder / name), Store(folder / "store")
    task, entries = f"task {MARKUP}", []
    models = tuple(
        Foundation(name=each, source=each, content_id=f"files1-{place}", vocabulary=9)
        for place, each in enumerate(names)
    )
    base = Foundation(name="base", source="base", content_id="files1-base", vocabulary=9)
    started = RunStarted(name=name, seed=1, k=2, strategy="greedy", metric=Metric.PCC, base=base,
                         foundation=models, config_id="c")  # fmt: skip
    entries.append(Entry(at=1.7e9, event=started))
    for place, model in enumerate(models):
        right = [item % (place + 2) == 0 for item in range(items)]

        def write(into, place=place, right=right):
            with (into / samples_file(task)).open("w", encoding="utf-8") as log:
                for item, solved in enumerate(right):
                    answer = f"answer {item} of {place} {MARKUP}"
                    row = {"doc_id": item, "filter": "none", "arguments": [[prompt(item), {}]],
                           "filtered": [answer], "target": f"target {item}\u2028",
                           "metrics": {"acc": float(solved)}}  # fmt: skip
                    log.write(json.dumps(row, ensure_ascii=False) + "\n")

        store.obtain(evaluation_name(model.content_id, "evaluation1-x"), write)
        value = 100.0 * sum(right) / items
        score = TaskScore(task=task, metric="acc", value=value, stderr=1.0, samples=items)
        scores = Scores(evaluation_id="evaluation1-x", tasks=(score,))
        entries.append(
            Entry(at=1.7e9 + place, event=ModelScored(model=model.name, scores=scores, seconds=1.0))
        )
    with run.driven(), run.start(entries[0], "# none\n", {}) as journal:
        for entry in entries[1:]:
            journal.append(entry)
    return run


def tree(folder: Path):
    """Every path below a folder with its content and its time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (about.st_mtime_ns, about.st_size, hash(content))
    return found


def wait_until(true):
    until = time.monotonic() + 120
    while not (value := true()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return value
