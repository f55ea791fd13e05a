"""Serve the newest frame to browsers as motion JPEG, with statistics."""

from __future__ import annotations

import html
import ipaddress
import json
import re
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, UnsupportedError

__all__ = ["WebViewer", "parse_address"]

_QUALITY = 85  # of JPEGs
_BOUNDARY = "frame"
_RESEND_INTERVAL = 5.0  # seconds after which the same image is sent again, to detect viewers that are gone
_SEND_TIMEOUT = 30.0
_ADDRESS = re.compile(r"(?:(?P<host>[^\[\]:]*|\[[0-9a-fA-F:]+\]):)?(?P<port>\d{1,5})")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>TITLE - depth</title>
<style>
body { margin: 0; background: #16181c; color: #e6e6e6; font: 15px/1.5 system-ui, sans-serif; text-align: center }
img { width: 100%; max-width: WIDTHpx; height: auto; display: block; margin: 0 auto; background: #000 }
dl { display: inline-flex; flex-wrap: wrap; gap: .2em 2em; margin: .8em }
dt { color: #9aa0a8 } dd { margin: 0; font-variant-numeric: tabular-nums } p { color: #9aa0a8; margin: .3em }
</style></head>
<body><img id="image" src="/stream.mjpg" alt="camera and depth, side by side">
<dl id="numbers"></dl><p>TITLE. Left: camera. Right: depth; near is red, far is blue.</p>
<script>
const numbers = document.getElementById("numbers"), image = document.getElementById("image");
let lost = false;
async function refresh() {
  try {
    const values = await (await fetch("/stats.json", {cache: "no-store"})).json();
    numbers.replaceChildren(...Object.entries(values).map(([name, value]) => {
      const row = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name.replaceAll("_", " "); dd.textContent = value ?? "-"; row.append(dt, dd); return row;
    }));
    if (lost) { lost = false; image.src = "/stream.mjpg?" + Date.now(); }
  } catch (error) { lost = true; numbers.textContent = "the stream has ended, or is out of reach"; }
}
refresh(); setInterval(refresh, 1000);
</script></body></html>
"""


def parse_address(text: str) -> tuple[str, int]:
    """Parse "8000", "0.0.0.0:8000" or "[::1]:8000" into host and port; the default host is 127.0.0.1.

    Raises:
        InvalidInputError: the text is not an address.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise InvalidInputError(f"--http {text}: give PORT or HOST:PORT, such as 8000 or 0.0.0.0:8000")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


class WebViewer:
    """Serves a page with the newest image to any number of viewers.

    An image is encoded once, and only if there is a viewer. Each viewer has a thread, which sends the newest image when
    the last one has been sent: a slow viewer gets fewer images, and delays neither other viewers nor `show`.

    Args:
        host: address to listen on. On a loopback address, requests must name this machine as their host.
        port: port to listen on; 0: any free one.
        title: title of the page.
        numbers: returns the statistics below the image, by name; None: not known yet.
        width: maximum width of the image on the page, in pixels.

    Raises:
        UnsupportedError: the port is in use, or the address is not an address of this machine.
    """

    def __init__(
        self, host: str, port: int, title: str, numbers: Callable[[], Mapping[str, float | None]], *, width: int = 1400
    ) -> None:
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._image: npt.NDArray[np.uint8] | None = None
        self._number = 0
        self._encoded = (-1, b"")  # number and JPEG
        self._closed = False
        self._numbers = numbers
        self._page = _PAGE.replace("TITLE", html.escape(title)).replace("WIDTH", str(width)).encode()
        self._local = _is_loopback(host)
        try:
            self._server = _Server((host, port), self, ipv6=":" in host)
        except (OSError, OverflowError) as error:
            raise UnsupportedError(
                f"cannot serve at {host}:{port} ({getattr(error, 'strerror', None) or error}); "
                "choose another port, or 0 for any free port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="da3-web", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """URL of the page."""
        host, port = self._server.server_address[:2]
        host = host.decode() if isinstance(host, bytes) else str(host)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can watch."""
        return self._local

    def show(self, image: npt.NDArray[np.uint8]) -> None:
        """Replace the image, (H, W, 3) uint8 RGB. The caller must not change it afterwards."""
        with self._changed:
            self._image = image
            self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Stop serving; the page then says that the stream has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def newest(self, after: int) -> tuple[int, bytes] | None:
        """Wait for an image newer than number `after`; after a timeout, return the current one again.

        Returns:
            Number and JPEG (empty if there is no image yet); None once closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._number > after, _RESEND_INTERVAL)
            if self._closed:
                return None
            number, image = self._number, self._image
        if image is None:
            return 0, b""
        with self._encoding:  # the first viewer encodes it for all
            if self._encoded[0] < number:
                flipped = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                _, data = cv2.imencode(".jpg", flipped, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
                self._encoded = number, data.tobytes()
            return self._encoded

    def may_ask(self, host: str) -> bool:
        """Whether to answer a request with this Host header. Prevents DNS rebinding on loopback addresses."""
        return not self._local or _is_loopback(urlsplit(f"//{host}").hostname or "")

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Content type and content of a path other than the stream's; None if it does not exist."""
        if path == "/":
            return "text/html; charset=utf-8", self._page
        if path == "/stats.json":
            return "application/json", json.dumps(dict(self._numbers())).encode()
        if path == "/snapshot.jpg":
            newest = self.newest(0)
            return ("image/jpeg", newest[1]) if newest and newest[1] else None
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a viewer that does not read must not delay the end

    def __init__(self, address: tuple[str, int], viewer: WebViewer, *, ipv6: bool) -> None:
        import socket

        self.viewer = viewer
        self.address_family = socket.AF_INET6 if ipv6 else socket.AF_INET
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # Any: as in the base class
        """Ignore errors of a connection that a viewer closed."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SEND_TIMEOUT

    def do_GET(self) -> None:
        """Answer a request."""
        viewer, path = self.server.viewer, urlsplit(self.path).path
        if not viewer.may_ask(self.headers.get("Host", "")):
            self.send_error(HTTPStatus.FORBIDDEN, "This page is available on this machine only")
        elif path == "/stream.mjpg":
            self._stream(viewer)
        else:
            found = viewer.answer(path)
            if found is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            kind, content = found
            self._begin(kind, {"Content-Length": str(len(content))})
            self.wfile.write(content)

    def _stream(self, viewer: WebViewer) -> None:
        self._begin(f"multipart/x-mixed-replace; boundary={_BOUNDARY}", {})
        number, boundary = 0, f"--{_BOUNDARY}\r\n".encode()
        self.wfile.write(boundary)
        while (newest := viewer.newest(number)) is not None:
            number, jpeg = newest
            if jpeg:
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                # Browsers show a part when they have seen where the next one begins.
                self.wfile.write(head + jpeg + b"\r\n" + boundary)

    def _begin(self, kind: str, more: Mapping[str, str]) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in {
            "Content-Type": kind,
            "Cache-Control": "no-store",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            **more,
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests."""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
