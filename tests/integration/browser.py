"""A headless Chromium driven over the DevTools protocol, for `test_ui`.

Commands go over two pipes of the browser (`--remote-debugging-pipe`), so that nothing but the
browser is needed.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 120


class Browser:
    """One page; `console` has everything that a page complained of."""

    def __init__(self, profile, width=1280, height=900, dark=False):
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()

        def connect():
            os.dup2(theirs_in, 3)
            os.dup2(theirs_out, 4)

        self._process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
             f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect, pass_fds=(3, 4), stderr=subprocess.DEVNULL,  # noqa: PLW1509
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers = itertools.count(1)
        self._rest = b""
        self.console = []
        self._session = None
        targets = self._send("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        attached = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")
        self.size(width, height, dark)

    def size(self, width, height=900, dark=False):
        """The size of the window, and the theme that the user likes."""
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                   deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._send("Emulation.setEmulatedMedia", features=scheme)

    def open(self, url):
        """Go to a page and wait until it is loaded."""
        self._send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script):
        """The value of an expression of JavaScript in the page."""
        said = self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def wait(self, script):
        """Wait until an expression is true; returns its value."""
        until = time.monotonic() + PATIENCE
        while not (value := self._tried(script)):
            assert time.monotonic() < until, f"never: {script}"
            time.sleep(0.05)
        return value

    def _tried(self, script):
        try:
            return self.run(script)
        except AssertionError:
            return None  # between two pages

    def click(self, selector):
        """Click an element when it is there."""
        self.wait(f"document.querySelector({json.dumps(selector)}) !== null")
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def screenshot(self, path, whole=True):
        """Write a picture of the page."""
        said = self._send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(said["data"]))

    def close(self):
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _send(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            said = self._read(until)
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]
            self._note(said)

    def _note(self, said):
        match said.get("method"):
            case "Log.entryAdded":
                self.console.append(said["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.console.append(said["params"]["exceptionDetails"]["text"])
            case "Runtime.consoleAPICalled" if said["params"]["type"] in {"error", "warning"}:
                self.console.append(str(said["params"]["args"]))

    def _read(self, until):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._from, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
