"""`evomerge ui`: pages, answers to bad requests, control, and a browser that clicks through."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
sys.path.insert(0, str(Path(__file__).parent))
from browser import CHROMIUM, Browser
from starlette.testclient import TestClient
from ui_server import (
    MARKUP,
    NAMES,
    going_on,
    logged_run,
    many,
    served,
    site_of,
    tree,
    wait_until,
)

from evomerge.domain.kinship import EstimatedReading, Metric
from evomerge.store.artefacts import Store
from evomerge.testing.landscape_run import run_landscape
from evomerge.ui.access import Access
from evomerge.ui.answers import PAGE, Answers
from evomerge.ui.app import application
from evomerge.ui.control import Control
from evomerge.ui.site import Site
from evomerge.ui.watching import RunsFolder

HOSTILE_RUN = "a <i>run & 50% #1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A landscape run, and one with markup in every name and text."""
    root = tmp_path_factory.mktemp("ui")
    run_landscape(root)
    logged_run(root / "runs", HOSTILE_RUN)
    return root / "runs"


def client_of(folder, controller=None, **access):
    site = Site(RunsFolder(folder), Access(**access), controller or Control())
    return TestClient(application(site), base_url="http://127.0.0.1:8520", follow_redirects=False)


@pytest.fixture(scope="module")
def client(folder):
    return client_of(folder)


def samples(**query):
    return f"/runs/{quote(HOSTILE_RUN)}/samples?{urlencode(query, doseq=True)}"


def pages(folder):
    """Every page of both runs."""
    yield "/"
    for run, name in (("landscape", "model-1-1"), (HOSTILE_RUN, NAMES[0])):
        for page in ("", "/samples", "/kinship", f"/model?{urlencode({'name': name})}"):
            yield f"/runs/{quote(run, safe='')}{page}"


def test_every_page_is_there_and_nothing_is_changed(client, folder):
    before = tree(folder)
    for page in pages(folder):
        answer = client.get(page)
        assert answer.status_code == 200, page
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "script" not in policy, "scripts of this server only"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for page in (
        "/compare?run=landscape&run=landscape",
        "/static/page.css",
        "/runs/landscape/file?name=model-1-1&what=recipe",
    ):
        client.get(page)
    assert tree(folder) == before, "a reader leaves no trace"


def test_markup_in_names_and_texts_is_text(client, folder):
    for page in pages(folder):
        text = client.get(page).text
        assert "<script>alert" not in text
        assert "</title></script>" not in text
        assert "<i>run" not in text
        assert "49/../" not in text, "no template in a name is run"
    assert "&lt;script&gt;alert(" in client.get(samples()).text


@pytest.mark.parametrize(
    "page",
    [
        "/runs/none",
        "/runs/landscape/model?name=none",
        "/nothing",
        "/static/..%2fui.html",
        "/runs/%2e%2e",
        "/runs/store",
    ],
)
def test_what_is_not_there(client, page):
    answer = client.get(page)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_a_browser_keeps_the_scripts(client):
    first = client.get("/static/ui.js")
    again = client.get("/static/ui.js", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_the_files_of_a_model(client):
    card = client.get("/runs/landscape/file?name=model-1-1&what=mergekit")
    assert card.status_code == 200
    assert card.headers["content-disposition"].startswith("attachment")
    assert "merge_method: dare_ties" in card.text
    assert client.get("/runs/landscape/file?name=ash&what=mergekit").status_code == 404
    assert client.get("/runs/landscape/file?name=model-1-1&what=weights").status_code == 404


def test_answers_by_outcome_text_and_page(client):
    task, two, three = f"task {MARKUP}", NAMES[0], NAMES[1]

    def counts(**query):
        text = client.get(samples(model=two, beside=three, task=task, **query)).text
        assert 'class="item"' in text or "No such items" in text
        found = re.findall(r">(all|won|lost|both wrong|both right) <b>([\d,]+)</b>", text)
        return {name: int(number) for name, number in found}, re.findall(r'id="item-(\d+)"', text)

    # the first solves even items, the second those divisible by three
    numbers, shown = counts()
    assert numbers == {"all": 60, "won": 20, "lost": 10, "both wrong": 20, "both right": 10}
    assert shown == [str(item) for item in range(PAGE)]
    assert counts(outcome="lost")[1] == [str(item) for item in range(3, 60, 6)]
    assert counts(outcome="both wrong", page=99)[1] == [
        str(i) for i in range(60) if i % 6 in {1, 5}
    ]
    assert counts(page=3)[1] == [str(item) for item in range(40, 60)]
    assert counts(words="TARGET 57")[0]["all"] == 1
    assert counts(words="answer 7 of 1")[1][0] == "7", "also in the answers beside"
    assert counts(words="no such words")[1] == []


def test_words_are_marked_in_the_text(client):
    text = client.get(samples(model=NAMES[0], words="SCRIPT")).text
    assert "&lt;<mark>script</mark>&gt;" in text


def test_estimated_kinship_is_told_from_exact(folder, monkeypatch):
    def one_estimated(run, state, pairs):
        guess = EstimatedReading(models=("ash", "birch"), pcc=0.5, errors={Metric.PCC: 0.01})
        return replace(state, readings=state.readings.update({guess.models: guess}))

    monkeypatch.setattr("evomerge.ui.pages.kinship.with_estimates", one_estimated)
    text = client_of(folder).get("/runs/landscape/kinship").text
    cells = re.findall(r'<td( class="estimated")? style="[^"]*" title="([^"]*)"', text)
    told = {title for estimated, title in cells if estimated}
    assert told == {"ash and birch: 0.5 ± 0.01, estimated", "birch and ash: 0.5 ± 0.01, estimated"}
    exact = [title for estimated, title in cells if not estimated]
    assert exact
    assert all(title.endswith(", exact") for title in exact)


def test_a_model_without_answers_says_so(tmp_path):
    run_landscape(tmp_path)
    folder = tmp_path / "runs"
    client = client_of(folder)
    text = client.get("/runs/landscape/samples?model=model-1-1&split=held_out&task=none").text
    assert 'class="item"' in text, "what is not there is completed from what is"
    shutil.rmtree(folder / "store" / "evaluations")
    text = client_of(folder).get("/runs/landscape/samples?model=model-1-1").text
    assert "the store has no per-item results of it" in text


def test_logs_are_read_once(tmp_path, monkeypatch):
    run = logged_run(tmp_path, "run", names=("a", "b"))
    read = []
    from evomerge.flips import answers

    monkeypatch.setattr("evomerge.ui.answers.answers", lambda *a: read.append(a) or answers(*a))
    seen, known = RunsFolder(tmp_path).run("run"), Answers()
    models = [*seen.state.models.values()]
    for number in (1, 2, 3):
        found = known.page(Store(run.store), models, f"task {MARKUP}", None, "selection",
                           number=number)  # fmt: skip
        assert found.number == number
    assert len(read) == 2


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8520", "127.0.0.1.evil", ""])
def test_another_name_is_refused(client, host):
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1:8520", "[::1]:8520", "LOCALHOST"])
def test_names_of_this_machine_are_not(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def test_a_token_is_needed_and_kept_in_a_cookie(folder):
    client = client_of(folder, token="right")
    for page in ("/", "/runs/landscape", "/events", "/static/ui.js", "/?token=wrong"):
        assert client.get(page).status_code == 401
    shown = client.get("/runs/landscape?token=right&a=1")
    assert (shown.status_code, shown.headers["location"]) == (303, "/runs/landscape?a=1")
    cookie = shown.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert client.get("/").status_code == 200
    bearer = {"authorization": "Bearer right"}
    assert client_of(folder, token="right").get("/", headers=bearer).status_code == 200


def test_no_redirect_leaves_the_site(folder):
    answer = client_of(folder, token="right").get("//evil.example/?token=right")
    assert answer.headers.get("location", "/").startswith("/")
    assert not answer.headers.get("location", "/").startswith("//")


def test_read_only_unless_allowed(client, folder):
    form = client.app.state.site.access.form
    answer = client.post("/runs/landscape/control", data={"do": "stop", "form": form})
    assert answer.status_code == 403
    assert client.get("/runs/landscape").text.count("<form") == 0


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ({}, "wrong"),
        ({"origin": "http://evil.example"}, None),
        ({"sec-fetch-site": "cross-site"}, None),
        ({"origin": "null"}, None),
    ],
)
def test_a_form_of_another_site_changes_nothing(folder, headers, form):
    asked = []
    client = client_of(folder, Control(["false"]), token=None, control=True)
    client.app.state.site.control.stop = asked.append
    form = form or client.app.state.site.access.form
    answer = client.post("/runs/landscape/control", data={"do": "stop", "form": form},
                         headers=headers)  # fmt: skip
    assert answer.status_code in {403, 409}
    assert asked == []


def test_stop_resume_and_extend(tmp_path):
    """A driver in a process of its own is stopped and resumed; the run comes to its end."""
    program = tmp_path / "evomerge"
    program.write_text(
        "import sys, pathlib\n"
        "from evomerge.testing.landscape_run import run_landscape\n"
        f"root = pathlib.Path({str(tmp_path)!r})\n"
        "more = int(sys.argv[sys.argv.index('--more') + 1]) if '--more' in sys.argv else None\n"
        "print('resumed', *sys.argv[1:])\n"
        "run_landscape(root, more=more)\n"
    )
    slow = (
        "import sys, time, pathlib\n"
        "from evomerge.testing.landscape_run import SilentObserver, run_landscape\n"
        "class Slow(SilentObserver):\n"
        "    def on_event(self, event, state): time.sleep(0.5)\n"
        f"run_landscape(pathlib.Path({str(tmp_path)!r}), observer=Slow())\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", slow], stderr=subprocess.PIPE)
    folder = tmp_path / "runs"
    client = client_of(folder, Control([sys.executable, str(program)]), control=True)
    site = client.app.state.site

    def post(**fields):
        data = {"form": site.access.form, **fields}
        return client.post("/runs/landscape/control", data=data).status_code

    try:
        wait_until(lambda: (seen := site.folder.run("landscape")) and seen.phase == "running")
        assert post(do="resume") == 409, "it is running"
        assert "stop" in client.get("/runs/landscape").text
        assert post(do="stop") == 303
        assert driver.wait(timeout=120) != 0
    finally:
        driver.kill()
    seen = site.folder.run("landscape")
    assert (seen.phase, seen.state.finished) == ("stopped", False)
    assert post(do="stop") == 409, "nobody drives it"
    assert post(do="extend", more="3") == 409, "it has not come to its end"
    assert post(do="resume") == 303
    wait_until(lambda: site.folder.run("landscape").phase == "finished")
    log = next((folder / "landscape" / "logs").glob("*ui*"))
    assert "resume" in log.read_text()
    before = site.folder.run("landscape").state.evaluations
    wait_until(lambda: post(do="extend", more="3") == 303)
    wait_until(lambda: site.folder.run("landscape").state.evaluations == before + 3)
    wait_until(lambda: site.folder.run("landscape").phase == "finished")


def test_why_a_run_could_not_be_resumed_is_told(tmp_path):
    run_landscape(tmp_path)
    failing = [sys.executable, "-c", "import sys; print('no such GPU'); sys.exit(3)"]
    client = client_of(tmp_path / "runs", Control(failing), control=True)
    form = client.app.state.site.access.form
    asked = {"do": "extend", "more": "2", "form": form}
    assert client.post("/runs/landscape/control", data=asked).status_code == 303
    wait_until(lambda: "no such GPU" in client.get("/runs/landscape").text)


def test_a_damaged_journal_is_shown_as_such(tmp_path):
    run_landscape(tmp_path)
    journal = tmp_path / "runs" / "landscape" / "journal.jsonl"
    text = journal.read_bytes()
    client = client_of(tmp_path / "runs")
    assert "finished" in client.get("/").text
    journal.write_bytes(text.replace(b'"seed":1', b'"seed":2', 1))
    assert "checksum" in client.get("/").text
    assert "checksum" in client.get("/runs/landscape").text
    journal.write_bytes(text)
    assert "checksum" not in client.get("/").text


def test_an_empty_folder_says_how_to_begin(tmp_path):
    assert "evomerge run" in client_of(tmp_path).get("/").text


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none"], 2, "no runs folder none"),
        (["RUN"], 2, "is one run, not a folder of runs"),
        (["RUNS", "--port", "TAKEN"], 3, "is taken"),
        (["RUNS", "--host", "203.0.113.1", "--port", "0"], 3, "203.0.113.1:0 cannot be used"),
    ],
)
def test_a_wrong_command_line(evomerge, folder, arguments, code, says):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = {"RUN": folder / "landscape", "RUNS": folder, "TAKEN": port}
        done = evomerge("ui", *[words.get(word, word) for word in arguments], timeout=120)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_what_to_install(folder, evomerge, tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('x', name='uvicorn')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = evomerge("ui", folder, env={"PYTHONPATH": path}, timeout=120)
    assert (done.returncode, "pip install 'evomerge[ui]'" in done.stderr) == (3, True)


def test_it_is_served_until_ctrl_c_with_a_token_where_something_can_be_changed(folder):
    words = [sys.executable, "-m", "evomerge", "ui", str(folder), "--port", "0", "--allow-control"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as done:
        address = done.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\S{32}", address)
        done.send_signal(signal.SIGINT)
        _, err = done.communicate(timeout=120)
    assert (done.returncode, err) == (0, "")


@pytest.fixture
def browser(tmp_path):
    if CHROMIUM is None:
        pytest.skip("no chromium to look at the pages with")
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()
    assert browser.console == []


def overflow(browser):
    return browser.run("document.documentElement.scrollWidth - innerWidth")


def test_a_browser_clicks_through_every_page(browser, folder):
    with served(site_of(folder)) as address:
        for width in (1280, 400):
            browser.size(width)
            for page in pages(folder):
                browser.open(address + page)
                assert overflow(browser) <= 0, page
        browser.open(address)
        browser.click('a[href="/runs/landscape"]')
        browser.wait("document.querySelector('#best-so-far.live-now svg') !== null")
        browser.click('a[href*="model?name=model-1-1"]')
        browser.wait("document.title.startsWith('model-1-1')")
        browser.click('nav a[href$="/kinship"]')
        browser.wait("document.querySelector('.matrix td') !== null")
        browser.click('nav a[href$="/samples"]')
        browser.wait("document.title.startsWith('samples')")


def test_a_browser_asks_for_answers(browser, folder):
    with served(site_of(folder)) as address:
        browser.open(address + samples(model=NAMES[0], beside=NAMES[1]))
        assert browser.run("document.querySelectorAll('.item').length") == PAGE
        browser.click('.pages a[rel="next"]')
        browser.wait("document.querySelector('.pages').innerText.includes('page 2')")
        browser.run("[...document.querySelectorAll('.outcomes a')].find("
                    "(a) => a.innerText.startsWith('lost')).click()")  # fmt: skip
        browser.wait("document.querySelectorAll('.item').length === 10")
        browser.run("document.querySelector('input[name=words]').value = 'target 9'")
        browser.run("document.querySelector('form.questions').requestSubmit()")
        browser.wait("document.querySelectorAll('mark').length > 0")
        assert browser.run("document.querySelectorAll('.item').length") == 2, "items 9 and 39"


def test_a_run_goes_on_while_it_is_looked_at(browser, tmp_path):
    (tmp_path / "runs").mkdir()
    scored = "document.querySelectorAll('#models-table tbody tr').length"
    with served(site_of(tmp_path / "runs")) as address, going_on(tmp_path) as run:
        browser.open(address)
        browser.wait("document.body.innerText.includes('landscape')")
        browser.open(address + "/runs/landscape")
        browser.wait("document.querySelector('#phase').innerText === 'running'")
        browser.run("window.sameDocument = true")
        assert browser.run(scored) == 4
        run.go()
        browser.wait(f"{scored} > 4")
        browser.wait("document.querySelector('#phase').innerText === 'finished'")
        browser.wait("document.querySelector('#best-so-far.live-now svg') !== null")
        assert browser.run("window.sameDocument"), "without loading the page again"


def test_eighty_runs_in_one_table(browser, tmp_path):
    (tmp_path / "runs").mkdir()
    many(tmp_path / "runs", 80)
    with served(site_of(tmp_path / "runs")) as address:
        browser.open(address)
        assert browser.run("document.querySelectorAll('#runs tbody tr').length") == 80
        browser.run("(box => { box.value = 'landscape-7'; box.dispatchEvent(new Event('input')); })"
                    "(document.querySelector('.filter'))")  # fmt: skip
        visible = "[...document.querySelectorAll('#runs tbody tr')].filter(r => !r.hidden).length"
        assert browser.run(visible) == 10
        for name in ("landscape-70", "landscape-71"):
            browser.click(f'input[value="{name}"]')
        browser.click("#compare button")
        browser.wait("document.body.innerText.includes('Results by arm')")
        browser.wait("document.querySelector('figure.live-now') !== null")
