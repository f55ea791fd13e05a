"""Serve the newest frame to browsers as motion JPEG, with statistics."""

from __future__ import annotations

import asyncio
import html
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from depth_anything_3.services.server.metrics import ServerMetrics
from depth_anything_3.services.server.run import address_of, listen
from depth_anything_3.services.server.security import Gate
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["WebViewer"]

_QUALITY = 85  # of JPEGs
_BOUNDARY = "frame"
_RESEND_INTERVAL = 5.0  # seconds after which the same image is sent again, to detect viewers that are gone
_MAX_CONNECTIONS = 200
_MAX_END = 10.0  # seconds
_FILES = Path(__file__).parent

Numbers = Callable[[], Mapping[str, float | None]]


class _LiveGate(Gate):
    """The checks of the server; on an address for others, any name of it, because there is nothing to protect."""

    def _knows(self, host: str) -> bool:
        return not self._settings.is_local or super()._knows(host)


class WebViewer:
    """Serves a page with the newest image to any number of viewers.

    An image is encoded once, and only if there is a viewer. Each viewer is sent the newest image when the last one has
    been sent: a slow viewer gets fewer images, and delays neither other viewers nor `show`.

    Args:
        address: host and port to listen on; port 0: any free one. On a loopback address, requests must name this
            machine as their host.
        title: title of the page.
        numbers: returns the statistics below the image, by name; None: not known yet.

    Raises:
        UnsupportedError: the port is in use, or the address is not an address of this machine.
    """

    def __init__(self, address: tuple[str, int], title: str, numbers: Numbers) -> None:
        self._lock = threading.Lock()
        self._image: npt.NDArray[np.uint8] | None = None
        self._number = 0
        self._encoded = (-1, b"")  # number and JPEG
        self._encoding = asyncio.Lock()
        self._changed = asyncio.Event()
        self._closed = False
        self._settings = ServerSettings(host=address[0], port=address[1])
        listening = listen(*address)
        self._url = address_of(listening)
        config = uvicorn.Config(
            self._app(title, numbers),
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=2,
            proxy_headers=False,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._server.run, args=([listening],), name="da3-web", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """URL of the page."""
        return self._url

    @property
    def is_local(self) -> bool:
        """Whether only this machine can watch."""
        return self._settings.is_local

    def show(self, image: npt.NDArray[np.uint8]) -> None:
        """Replace the image, (H, W, 3) uint8 RGB. The caller must not change it afterwards."""
        with self._lock:
            self._image = image
            self._number += 1
        self._wake()

    def close(self) -> None:
        """Stop serving; the page then says that the stream has ended. May be called more than once."""
        self._closed = True
        self._wake()
        self._server.should_exit = True
        self._thread.join(_MAX_END)

    def _wake(self) -> None:
        """Wake all viewers, from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._notify)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _newest(self, after: int) -> tuple[int, bytes] | None:
        """Wait for an image newer than number `after`; after a timeout, return the current one again.

        Returns:
            Number and JPEG (empty if there is no image yet); None once closed.
        """
        self._loop = asyncio.get_running_loop()
        changed = self._changed
        if self._number <= after and not self._closed:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), _RESEND_INTERVAL)
        if self._closed:
            return None
        async with self._encoding:  # the first viewer encodes it for all
            with self._lock:
                number, image = self._number, self._image
            if image is None:
                return 0, b""
            if self._encoded[0] < number:
                self._encoded = number, await asyncio.to_thread(_jpeg, image)
            return self._encoded

    async def _parts(self) -> AsyncIterator[bytes]:
        number, boundary = 0, f"--{_BOUNDARY}\r\n".encode()
        yield boundary
        while (newest := await self._newest(number)) is not None:
            number, jpeg = newest
            if jpeg:
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                # Browsers show a part when they have seen where the next one begins.
                yield head + jpeg + b"\r\n" + boundary

    def _app(self, title: str, numbers: Numbers) -> Gate:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        page = (_FILES / "live.html").read_text(encoding="utf-8").replace("TITLE", html.escape(title))

        @app.get("/")
        async def root() -> Response:
            return Response(page, media_type="text/html; charset=utf-8")

        @app.get("/live.js")
        async def script() -> Response:
            return FileResponse(_FILES / "live.js", media_type="text/javascript")

        @app.get("/live.css")
        async def style() -> Response:
            return FileResponse(_FILES / "live.css", media_type="text/css")

        @app.get("/stats.json")
        async def stats() -> Response:
            return JSONResponse(dict(numbers()))

        @app.get("/snapshot.jpg")
        async def snapshot() -> Response:
            newest = await self._newest(0)
            found = newest is not None and newest[1]
            return Response(found, media_type="image/jpeg") if found else Response(status_code=404)

        @app.get("/stream.mjpg")
        async def stream() -> Response:
            return StreamingResponse(self._parts(), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}")

        return _LiveGate(app, self._settings, ServerMetrics())


def _jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return data.tobytes()
