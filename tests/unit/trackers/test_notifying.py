"""Who is told of a run: a webhook on loopback and a command, with everything that can go wrong."""

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from evomerge.adapters.notifying import (
    Notifier,
    UndeliveredError,
    post,
    redactor_of,
    run_command,
    senders_of,
)
from evomerge.config import Config
from evomerge.config.notifying import NotifyConfig
from evomerge.domain.digest import decision_digest
from evomerge.domain.errors import CandidateError, LockedError, SignalledError
from evomerge.domain.events import GenerationFinished
from evomerge.store.run_directory import RunDirectory
from evomerge.terminal.notices import notice_of, stop_notice
from evomerge.testing.landscape import LandscapeMerger
from evomerge.testing.landscape_run import LandscapeWorkplace, landscape_config, run_landscape
from evomerge.wiring import notifiers_of

CONFIG = landscape_config(stopping=[{"max_generations": 2}])
ALL = ("end", "stop", "new_best", "failure")


class Hook:
    """A webhook: the bodies that it got; answers `codes` in turn, then 200."""

    def __init__(self, codes=(), hold=None):
        self.bodies, self.headers, self._codes = [], [], list(codes)
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hold is not None:
                    hold.wait(600)
                code = hook._codes.pop(0) if hook._codes else 200
                hook.headers.append(dict(self.headers))
                if code == 200:
                    hook.bodies.append(json.loads(body))
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/s3cret-path"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def notifier(senders, said, *, occasions=ALL, pauses=(0.0, 0.0), patience=20.0):
    stopped = partial(lambda state, why: stop_notice("landscape", state, why, "evomerge resume x"))
    return Notifier(
        senders, occasions, notice_of, stopped, lambda text: text, said.append, pauses, patience
    )


def told(root, url, *, workplace=None, observer=None, config=CONFIG, **how):
    said = []
    with notifier({"notify.webhook": partial(post, url, "")}, said, **how) as observed:
        state = run_landscape(root, config, workplace, observer=observer or observed)
    return state, said


def test_a_webhook_is_told_of_new_bests_and_the_end(tmp_path):
    with Hook() as hook:
        state, said = told(tmp_path, hook.url)
    assert said == []
    *before, last = hook.bodies
    assert {each["event"] for each in before} == {"new_best"}
    scores = [each["best"]["score"] for each in before]
    assert scores == sorted(scores)
    assert before[-1]["best"]["model"] == state.best.name
    assert last["event"] == "end"
    assert last["reason"] == state.stop
    assert last["text"].startswith(f"landscape finished: {state.best.name} {state.best.score:.2f}")
    assert last["evaluations"] == state.evaluations
    assert last["format"] == 1
    assert hook.headers[0]["Content-Type"] == "application/json"
    assert all("Authorization" not in each for each in hook.headers)


def test_only_the_wanted_occasions_are_told(tmp_path):
    with Hook() as hook:
        told(tmp_path, hook.url, occasions=("end",))
    assert [each["event"] for each in hook.bodies] == ["end"]


class Fails(LandscapeMerger):
    """Refuses the merges of ash."""

    def run(self, operation, *more):
        if operation.kind == "merge" and "merge" in str(operation.into):
            self.left = getattr(self, "left", 2) - 1
            if self.left >= 0:
                raise CandidateError("no such tensor")
        return super().run(operation, *more)


def test_a_failure_is_told(tmp_path):
    with Hook() as hook:
        workplace = LandscapeWorkplace(tmp_path, CONFIG, merger=Fails())
        state, _ = told(tmp_path, hook.url, workplace=workplace)
    (failed,) = [each for each in hook.bodies if each["event"] == "failure"]
    assert "failed in merge: no such tensor" in failed["text"]
    assert failed["failures"] == state.models.failures == 1


def test_a_stop_is_told_with_how_to_go_on(tmp_path):
    said = []

    class Stops:
        def __init__(self, inner):
            self.inner = inner

        def on_event(self, event, state):
            self.inner.on_event(event, state)
            if isinstance(event, GenerationFinished):
                raise SignalledError(15, "stopped by SIGTERM; everything done is kept")

        def on_progress(self, *_, **__):
            pass

    with Hook() as hook:
        observed = notifier({"notify.webhook": partial(post, hook.url, "")}, said)
        with pytest.raises(SignalledError), observed:
            run_landscape(tmp_path, CONFIG, observer=Stops(observed))
        with pytest.raises(LockedError), notifier({"x": partial(post, hook.url, "")}, said):
            raise LockedError("another process drives it")
        with pytest.raises(OSError, match="x"), notifier({"x": partial(post, hook.url, "")}, said):
            raise OSError("x")
    first, before_it_began = (each for each in hook.bodies if each["event"] == "stop")
    assert first["text"] == (
        "landscape stopped: stopped by SIGTERM; everything done is kept; go on with: "
        "evomerge resume x"
    )
    assert first["evaluations"] == 4
    assert before_it_began["reason"] == "x"
    assert "best" not in before_it_began


def test_what_does_not_arrive_is_sent_again(tmp_path):
    with Hook(codes=[500, 503]) as hook:
        _, said = told(tmp_path, hook.url)
    assert said == []
    assert hook.bodies[-1]["event"] == "end"
    assert len(hook.headers) == len(hook.bodies) + 2


@pytest.mark.parametrize("codes", [[500] * 99, [404] * 99, [302] * 99])
def test_a_server_that_refuses_is_named_once_and_the_run_is_the_same(tmp_path, codes):
    alone = run_landscape(tmp_path / "alone", CONFIG)
    with Hook(codes=codes) as hook:
        state, said = told(tmp_path, hook.url)
    assert hook.bodies == []
    assert said == [f"notify.webhook was not told, the run goes on: the server answered {codes[0]}"]
    assert decision_digest(state) == decision_digest(alone)
    assert len(hook.headers) % (3 if codes[0] == 500 else 1) == 0


def test_a_server_that_hangs_holds_nobody_up(tmp_path):
    hold = threading.Event()
    with Hook(hold=hold) as hook:
        state, said = told(tmp_path, hook.url, patience=0.05)
        assert state.finished
        assert hook.headers == [], "the run ended first"
        hold.set()
    assert said == ["notify.webhook did not take all messages in 0 s"]


def test_a_hanging_server_is_given_up_after_its_time():
    hold = threading.Event()
    with Hook(hold=hold) as hook, pytest.raises(UndeliveredError) as error:
        post(hook.url, "", b"{}", seconds=0.05)
    hold.set()
    assert "s3cret" not in str(error.value)


def test_nobody_at_the_address(tmp_path):
    with Hook() as hook:
        url = hook.url
    state, said = told(tmp_path, url, pauses=())
    assert state.finished
    assert len(said) == 1
    assert "no connection" in said[0]
    assert "s3cret" not in said[0]


@pytest.mark.parametrize("url", ["http://s3cret\x00", "http://[s3cret", "http://127.0.0.1:s3cret/"])
def test_an_invalid_url_is_never_quoted(url):
    with pytest.raises(UndeliveredError) as error:
        post(url, "", b"{}")
    assert "s3cret" not in str(error.value)


def test_a_command_gets_the_json_and_its_failure_is_told(tmp_path):
    said, file = [], tmp_path / "told"
    command = partial(run_command, ["sh", "-c", f"cat >> {file}; echo >> {file}"])
    with notifier({"notify.command": command}, said) as observed:
        run_landscape(tmp_path / "a", CONFIG, observer=observed)
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()][-1] == "end"
    assert said == []
    broken = partial(run_command, ["sh", "-c", "echo no such channel >&2; exit 3"])
    with notifier({"notify.command": broken}, said) as observed:
        assert run_landscape(tmp_path / "b", CONFIG, observer=observed).finished
    assert said == ["notify.command was not told, the run goes on: exit code 3: no such channel"]


def test_a_program_that_is_not_there_is_named_at_once():
    with pytest.raises(UndeliveredError, match="no-such-program does not start") as error:
        run_command(["./no-such-program"], b"{}")
    assert error.value.final


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    with pytest.raises(UndeliveredError, match="more than"):
        run_command(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"], b"{}", 1.0)
    pid = int((tmp_path / "pid").read_text())
    state = tmp_path / "state"
    state.write_text(_state_of(pid))
    assert state.read_text() in {"", "Z"}


def _state_of(pid):
    from pathlib import Path

    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_secrets_come_from_the_environment_and_show_nowhere(tmp_path, monkeypatch):
    said = []
    config = CONFIG.model_copy(
        update={"notify": NotifyConfig(webhook="MY_HOOK", token="MY_BEARER", events=("stop",))}
    )
    run = RunDirectory(tmp_path / "runs/landscape")
    with Hook() as hook:
        monkeypatch.setenv("MY_HOOK", hook.url)
        monkeypatch.setenv("MY_BEARER", "very-s3cret-token")
        (observed,) = notifiers_of(config, run, said.append)

        def breaks_off(run_is_over):
            with observed:
                run_landscape(tmp_path, config, observer=observed)
                raise OSError(run_is_over)

        with pytest.raises(OSError, match="no"):
            breaks_off(f"no answer from {hook.url} with very-s3cret-token")
    assert hook.headers[0]["Authorization"] == "Bearer very-s3cret-token"
    assert hook.bodies[0]["reason"] == "no answer from *** with ***"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes()
    assert said == []
    monkeypatch.delenv("MY_HOOK")
    monkeypatch.delenv("MY_BEARER")
    notifiers_of(config, run, said.append)
    assert said == [
        "notify.webhook: the environment variable MY_HOOK is not set; nobody is told",
        "notify.token: the environment variable MY_BEARER is not set; none is sent",
    ]
    assert redactor_of(config.notify, {"MY_HOOK": "http://x/abc"})("to http://x/abc") == "to ***"
    assert senders_of(NotifyConfig(webhook="H"), {"H": "file:///etc/passwd"}, said.append) == {}


def test_who_is_told_changes_no_result():
    from evomerge.configfile import config_id

    other = CONFIG.model_copy(update={"notify": NotifyConfig(command=("true",))})
    assert config_id(other) == config_id(CONFIG)
    assert Config.model_validate(other.model_dump(by_alias=True)).notify == other.notify


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"token": "T"},
        {"webhook": "https://hooks.example/T0/s3cret"},
        {"command": ["true"], "events": []},
        {"command": ["true"], "events": ["birth"]},
    ],
)
def test_a_section_that_tells_nobody_or_holds_a_secret_is_refused(section):
    with pytest.raises(ValueError, match="notify") as error:
        landscape_config(notify=section)
    assert section.get("webhook") is None or "environment variable" in str(error.value)
