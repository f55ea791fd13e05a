"""An endless video stream over HTTP on this machine, as a network camera sends it; it can be cut off and restored."""

from __future__ import annotations

import io
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np

SIZE_HW = (48, 64)


class StreamServer:
    """Sends MPEG-TS at `/live.ts` to whoever asks, 25 frames a second; each connection gets a brightness of its own."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.restore()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/live.ts"

    def cut(self) -> None:
        """Break off all connections, and take no more."""
        self._cut.set()
        self._server.shutdown()
        self._server.server_close()

    def restore(self) -> None:
        """Take connections again, at the same address."""
        self._cut = cut = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                self.end_headers()
                owner.connections += 1
                with suppress(OSError):  # the reader went away
                    owner._send(self.wfile, 60 * owner.connections, cut)
                self.close_connection = True

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def _send(wire: io.BufferedIOBase, level: int, cut: threading.Event) -> None:
        class Wire(io.RawIOBase):  # what PyAV may write to, and not seek in
            def writable(self) -> bool:
                return True

            def write(self, data: bytes) -> int:
                wire.write(data)
                return len(data)

        image = np.full((*SIZE_HW, 3), level, np.uint8)
        with av.open(Wire(), "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=25, options={"g": "5", "bf": "0"})
            stream.height, stream.width = SIZE_HW
            stream.pix_fmt = "yuv420p"
            while not cut.wait(0.04):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
