"""Drive Chromium without a window, by its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.chromium import CHROMIUM

__all__ = ["Browser", "open_browser"]

_TIMEOUT = 60.0


class Browser:
    """One tab. Keeps what its console said, and the addresses that it asked for."""

    def __init__(self, socket: Any) -> None:  # a connection of websockets
        self._socket = socket
        self._number = 0
        self.problems: list[str] = []
        self.addresses: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(_TIMEOUT))
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, values = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.addresses.append(values["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(values["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(values["args"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            entry = values["entry"]
            self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    def open(self, url: str) -> None:
        """Open a page."""
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Value of an expression, or of what its promise brings."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Value of an expression as soon as it is true."""
        end = time.monotonic() + _TIMEOUT
        while not (value := self.evaluate(f"(() => {{ try {{ return {expression}; }} catch {{ return null; }} }})()")):
            assert time.monotonic() < end, f"never true: {expression}; {self.problems}"
            self.evaluate("new Promise(requestAnimationFrame)")
        return value

    def drop(self, *files: tuple[str, bytes]) -> None:
        """Drop files on the page."""
        sent = json.dumps([(name, base64.b64encode(content).decode()) for name, content in files])
        self.evaluate(f"""(() => {{
            const data = new DataTransfer();
            for (const [name, text] of {sent}) {{
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const type = name.endsWith('.txt') ? 'text/plain' : name.endsWith('.png') ? 'image/png' : 'image/jpeg';
                data.items.add(new File([bytes], name, {{type}}));
            }}
            for (const type of ['dragover', 'drop']) {{
                const options = {{dataTransfer: data, bubbles: true, cancelable: true}};
                document.body.dispatchEvent(new DragEvent(type, options));
            }}
        }})()""")

    def move(self, x: float, y: float, **more: object) -> None:
        """Move the mouse, in CSS pixels."""
        self.call("Input.dispatchMouseEvent", type=more.pop("type", "mouseMoved"), x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the left button, move and let go."""
        self.move(*start, type="mousePressed", button="left", buttons=1, clickCount=1)
        self.move(*end, button="left", buttons=1)
        self.move(*end, type="mouseReleased", button="left", clickCount=1)

    def press(self, key: str, shift: bool = False) -> None:
        """Press a key and let go."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=8 if shift else 0,
                      windowsVirtualKeyCode=_CODES.get(key, 0))  # fmt: skip

    def wait_for_file(self, path: Path) -> None:
        """Wait until a download is there as a whole; Chromium renames it then."""
        end = time.monotonic() + _TIMEOUT
        while not path.exists():
            assert time.monotonic() < end, f"{path.name} was not saved"
            self.evaluate("new Promise(requestAnimationFrame)")

    def screenshot(self, clip: dict[str, float] | None = None) -> bytes:
        """PNG of the window, or of a part of it."""
        more = {"clip": clip | {"scale": 1}} if clip else {}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"])


_CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13, "Escape": 27}


@contextmanager
def open_browser(folder: Path, *options: str, size: tuple[int, int] = (1280, 860)) -> Iterator[Browser]:
    """Start Chromium with a profile in `folder`, with WebGL on the CPU, and no requests of its own."""
    from websockets.sync.client import connect

    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    process = subprocess.Popen(
        [
            str(CHROMIUM), "--headless=new", *as_root, "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-extensions",
            f"--window-size={size[0]},{size[1]}", "--remote-debugging-port=0", "--remote-allow-origins=*",
            f"--user-data-dir={folder / 'profile'}", *options, "about:blank",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with connect(_tab(folder / "profile", process), max_size=None, compression=None) as socket:
            browser = Browser(socket)
            yield browser
            with suppress(Exception):  # it may be gone already
                browser.call("Browser.close")
    finally:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tab(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Address of the first tab, as soon as there is one."""
    end = time.monotonic() + _TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, ValueError, IndexError):
            port = (profile / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.02)
    raise AssertionError("Chromium did not start")
