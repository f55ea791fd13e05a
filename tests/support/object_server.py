"""A web server on loopback that serves objects from memory, with ranges and refusals."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ObjectServer:
    """The server.

    Attributes:
        address: of its root.
        requests: method, path with query, and headers of each request.
        refusals: how many of the next requests are answered with 503.
    """

    address: str
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    refusals: int = 0


@contextmanager
def object_server(objects: Mapping[str, bytes]) -> Iterator[ObjectServer]:
    """Serve objects by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append((self.command, self.path, dict(self.headers)))
            if server.refusals:
                server.refusals -= 1
                self.answer(503, b"")
                return
            content = objects.get(self.path.partition("?")[0])
            if content is None:
                self.answer(404, b"")
                return
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted:
                content = content[int(wanted[1]) : int(wanted[2]) + 1 if wanted[2] else None]
            self.answer(206 if wanted else 200, content)

        do_HEAD = do_GET

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = ObjectServer(f"http://127.0.0.1:{http.server_address[1]}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
