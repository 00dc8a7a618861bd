"""The report in a real browser: it fetches nothing, complains of nothing, fits the window."""

import json
import re
import shutil
import subprocess

import pytest

from evomerge.report.charts import figures_of
from evomerge.report.run_page import as_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium to look at the page with")

PROBE = """<script>const told = setInterval(() => {
  const figures = document.querySelectorAll("figure").length;
  const live = document.querySelectorAll("figure.live-now").length;
  const line = document.querySelector("#best-so-far .live [stroke='var(--ink)']");
  if (live < figures || !line) return;
  if (!document.querySelector("tr.selected")) {
    document.querySelector("tr[data-model]").click();
    return;
  }
  clearInterval(told);
  document.title = JSON.stringify({
    height: document.documentElement.scrollHeight,
    overflow: document.documentElement.scrollWidth - innerWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    line: getComputedStyle(line).stroke,
    faint: [...document.querySelectorAll("#best-so-far .live .mark-symbol path[opacity]")]
      .filter((mark) => mark.getAttribute("opacity") < 0.5).length,
    chosen: document.querySelector("tr.selected").dataset.model,
    fetched: performance.getEntriesByType("resource").length }); }, 100)</script>"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    def look(page, theme):
        folder = tmp_path_factory.mktemp("browser")
        (folder / "page.html").write_text(PROBE.join(page.rsplit("</body>", 1)))
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--hide-scrollbars",
             "--enable-logging=stderr", "--window-size=1280,9000", "--virtual-time-budget=20000",
             f"--screenshot={folder / 'page.png'}", "--dump-dom",
             f"file://{folder / 'page.html'}#{theme}"],
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
        assert title, done.stderr[-2000:]
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return json.loads(title[1]), console, (folder / "page.png").stat().st_size

    return look


def test_the_page_in_light_and_dark(browse, paper):
    page = as_page(paper.view, figures_of(paper.view))
    seen = {}
    for theme in ("light", "dark"):
        seen[theme], console, size = browse(page, theme)
        assert console == []
        assert size > 50_000, "a blank picture"
        assert seen[theme]["fetched"] == 0
        assert seen[theme]["overflow"] <= 0
        assert 3000 < seen[theme]["height"] < 9000
        assert seen[theme]["chosen"] == paper.state.best.name
        assert seen[theme]["faint"] == len(paper.state.models) - 1, "a row selects its model"
    assert seen["light"]["paper"] != seen["dark"]["paper"]
    assert seen["light"]["line"] == seen["light"]["ink"]
    assert seen["dark"]["line"] == seen["dark"]["ink"], "figures follow the theme"


def test_hostile_names_run_nothing(browse, hostile):
    _, console, _ = browse(as_page(hostile.view, figures_of(hostile.view)), "light")
    assert console == []
