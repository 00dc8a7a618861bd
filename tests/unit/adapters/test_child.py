from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evomerge.adapters.child import Child
from evomerge.domain.errors import CandidateError, PreflightError
from evomerge.ports import Operation, Progress

HERE = Path(__file__).parent
HANGS = 120.0
"""Seconds after which a test is given up: long, because the machine may be busy."""
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "child.log"


@pytest.fixture
def child(log: Path) -> Iterator[Child]:
    child = Child("fake_child", {"echo"}, log, ENVIRONMENT, name="the child")
    yield child
    child.close()


def call(
    child: Child,
    kind: str,
    arguments: dict[str, Any],
    progress: Progress | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    return child.run(Operation(kind=kind, arguments=arguments, seconds=seconds), progress)


def gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody reaps has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether it comes to be; two minutes on a busy machine mean that it hangs."""
    deadline = time.monotonic() + HANGS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


class Hanging:
    """A call of `hang` in a thread."""

    def __init__(self, child: Child, **payload: bool) -> None:
        self.pids: list[int] = []
        self.error: BaseException | None = None
        self._child = child
        self._payload = payload
        self._thread = threading.Thread(target=self._call)
        self._thread.start()
        assert wait_until(lambda: len(self.pids) == 2)

    def _call(self) -> None:
        try:
            call(self._child, "hang", self._payload, lambda pid, _total: self.pids.append(pid))
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(HANGS)
        assert not self._thread.is_alive()


def test_a_process_serves_many_calls(child: Child) -> None:
    first = call(child, "echo", {"text": "Grüße\n" * 100_000})
    second = call(child, "echo", {})
    assert first["arguments"] == {"text": "Grüße\n" * 100_000}
    assert first["pid"] == second["pid"] != os.getpid()


def test_nothing_is_started_before_it_is_needed(child: Child, log: Path) -> None:
    assert not log.exists()
    child.close()
    assert not log.exists()


def test_a_process_can_be_started_in_advance(child: Child) -> None:
    starter = threading.Thread(target=child.start)
    starter.start()
    starter.join()
    # PR_SET_PDEATHSIG would kill a child here, with the thread that started it.
    pid = call(child, "echo", {})["pid"]
    time.sleep(0.2)
    assert call(child, "echo", {})["pid"] == pid


def test_prints_of_libraries_go_to_the_log(child: Child, log: Path) -> None:
    assert call(child, "noise", {}) == {"read": ""}
    text = log.read_text()
    assert "forged" in text
    assert "to the file descriptor" in text
    assert "from a grandchild" in text


def test_progress_is_relayed_and_its_end_is_never_lost(child: Child) -> None:
    seen: list[tuple[int, int]] = []
    call(child, "steps", {"total": 10_000}, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (10_000, 10_000)
    assert len(seen) < 1000
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("what", "kind", "message", "remedy"),
    [
        ("candidate", CandidateError, "bad candidate", "another"),
        ("preflight", PreflightError, "bad config", "mend it"),
        ("damaged", CandidateError, "bad file", "again"),
        ("other", CandidateError, "ValueError: bad value", None),
    ],
)
def test_errors_are_raised_again(
    child: Child, log: Path, what: str, kind: type[CandidateError], message: str, remedy: str
) -> None:
    pid = call(child, "echo", {})["pid"]
    with pytest.raises(kind) as caught:
        call(child, "raise", {"what": what})
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.remedy) == (message, remedy)
    assert "Traceback" in log.read_text()
    assert call(child, "echo", {})["pid"] == pid


def test_a_result_that_is_no_json_and_an_unknown_operation_are_errors(child: Child) -> None:
    with pytest.raises(CandidateError, match="TypeError"):
        call(child, "unserializable", {})
    with pytest.raises(CandidateError, match="KeyError: 'nothing'"):
        call(child, "nothing", {})
    assert call(child, "echo", {"still": "alive"})["arguments"] == {"still": "alive"}


def test_an_exit_is_reported_with_the_last_lines(child: Child) -> None:
    pid = call(child, "echo", {})["pid"]
    with pytest.raises(CandidateError) as caught:
        call(child, "exit", {"code": 3})
    assert caught.value.message == (
        "the child ended with exit code 3 during 'exit'; its last lines: these are | my last words"
    )
    assert call(child, "echo", {})["pid"] != pid


def test_a_killed_process_is_reported_and_replaced(child: Child) -> None:
    with pytest.raises(
        CandidateError, match=r"killed by SIGKILL \(out of memory\?\).*it gets dark"
    ):
        call(child, "kill_self", {})
    assert call(child, "echo", {"again": 1})["arguments"] == {"again": 1}


def test_the_last_lines_are_those_of_this_process(child: Child) -> None:
    with pytest.raises(CandidateError, match="my last words"):
        call(child, "exit", {"code": 1})
    with pytest.raises(CandidateError) as caught:
        call(child, "kill_self", {})
    assert "my last words" not in caught.value.message


def test_a_process_that_died_between_calls_is_replaced(child: Child) -> None:
    pid = call(child, "echo", {})["pid"]
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: gone(pid))
    assert call(child, "echo", {})["pid"] != pid


def test_a_module_that_cannot_be_imported(log: Path) -> None:
    child = Child("no_such_module", (), log)
    with pytest.raises(CandidateError, match="No module named 'no_such_module'"):
        call(child, "echo", {})
    child.close()


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CandidateError, match="cannot be started"):
        call(Child("fake_child", (), tmp_path / "file" / "log"), "echo", {})


def test_a_call_that_takes_too_long_is_ended(child: Child) -> None:
    pids: list[int] = []
    call(child, "echo", {})
    with pytest.raises(CandidateError, match=r"did not answer 'hang' within 3 s"):
        call(child, "hang", {}, lambda pid, _total: pids.append(pid), seconds=3)
    assert all(wait_until(lambda pid=pid: gone(pid)) for pid in pids)
    assert len(pids) == 2
    assert call(child, "echo", {"again": 1})["arguments"] == {"again": 1}


def test_an_interrupted_call_leaves_no_answer_behind(child: Child) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(child, "steps", {"total": 3}, interrupt)
    assert call(child, "echo", {"mine": 1})["arguments"] == {"mine": 1}


def test_closing_ends_a_call_of_another_thread(child: Child) -> None:
    hanging = Hanging(child)
    child.close()
    hanging.join()
    assert isinstance(hanging.error, CandidateError)
    assert hanging.error.message == "the child was closed during 'hang'"
    assert all(wait_until(lambda pid=pid: gone(pid)) for pid in hanging.pids)
    assert call(child, "echo", {"again": 1})["arguments"] == {"again": 1}


def test_closing_kills_a_process_that_cannot_listen(child: Child) -> None:
    hanging = Hanging(child, hold_gil=True)
    child.close()
    hanging.join()
    assert isinstance(hanging.error, CandidateError)
    assert all(wait_until(lambda pid=pid: gone(pid)) for pid in hanging.pids)


def test_closing_lets_the_process_clean_up(child: Child, tmp_path: Path) -> None:
    file = tmp_path / "temporary"
    file.touch()
    begun = threading.Event()

    def leave() -> None:
        with pytest.raises(CandidateError):
            call(child, "leave_traces", {"file": str(file)}, lambda _done, _total: begun.set())

    thread = threading.Thread(target=leave)
    thread.start()
    assert begun.wait(HANGS)
    child.close()
    thread.join(HANGS)
    assert not thread.is_alive()
    assert not file.exists()


def test_closing_twice_is_fine(child: Child) -> None:
    call(child, "echo", {})
    child.close()
    child.close()


PARENT = """
import signal
import sys
from pathlib import Path
from evomerge.adapters.child import Child
from evomerge.ports import Operation
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
child = Child("fake_child", (), Path(sys.argv[1]))
arguments = {"hold_gil": sys.argv[2] == "yes"}
child.run(Operation(kind="hang", arguments=arguments), lambda pid, _: print(pid, flush=True))
"""


@pytest.mark.parametrize("hold_gil", ["no", "yes"])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_parent(log: Path, hold_gil: str, signum: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log), hold_gil],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.send_signal(signum)
    try:
        parent.wait(HANGS)
    finally:
        parent.kill()
    parent.stdout.close()
    assert all(wait_until(lambda pid=pid: gone(pid)) for pid in pids)


def test_a_child_has_a_session_and_an_environment_of_its_own(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    child = Child("fake_child", (), log, {**ENVIRONMENT, "TQDM_DISABLE": "1"}, device="cuda:3")
    told = call(child, "describe", {})
    child.close()
    assert told["device"] == "cuda:3"
    # Its own session: the Ctrl-C of a terminal does not reach it.
    assert told["session"] == told["pid"]
    assert told["environment"]["INHERITED"] == "yes"
    assert told["environment"]["TQDM_DISABLE"] == "1"
    assert told["environment"]["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert told["environment"]["TOKENIZERS_PARALLELISM"] == "false"


def test_no_file_descriptor_is_left_open(child: Child) -> None:
    call(child, "echo", {})
    child.close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        call(child, "echo", {})
        child.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
