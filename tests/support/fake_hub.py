"""A model hub of one repository on this machine, sufficient for `huggingface_hub` to download from."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

REPOSITORY = "test/DA3-SMALL"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HANG_UP = 0
"""In place of a status: end the connection without an answer."""


@dataclass
class FakeHub:
    """Serves the files of a folder as `REPOSITORY`, until the `with` block ends.

    Attributes:
        folder: what is served.
        refuses: file (empty: the hub's own page) -> (status, the hub's error code) to answer with in its place.
        cuts: file -> after how many bytes of an answer the connection ends, the next times it is asked for; a negative
            number stalls instead, after as many bytes.
        requests: method, path and token of each request, in order.
        ranges: where in its file each download began.
    """

    folder: Path
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    ranges: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append((request.command, request.path, request.headers["Authorization"]))
        repository, _, rest = request.path.removeprefix("/").partition("/resolve/")
        name = rest.partition("/")[2]
        status, code = self.refuses.get(name, (200, ""))
        if repository and repository != REPOSITORY:
            status, code = 404, "RepoNotFound"
        elif repository and status == 200 and not (self.folder / name).is_file():
            status, code = 404, "EntryNotFound"
        if status == HANG_UP:
            return
        start = int((request.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        request.send_response(206 if status == 200 and start else status)
        request.send_header("X-Repo-Commit", COMMIT)
        if status != 200 or not repository:
            request.send_header("X-Error-Code", code)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        content = (self.folder / name).read_bytes()
        request.send_header("ETag", f'"{hashlib.sha256(name.encode()).hexdigest()}"')
        request.send_header("Content-Length", str(len(content) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        if request.command == "GET":
            self.ranges.append(start)
            cut = self.cuts[name].pop(0) if self.cuts.get(name) else len(content)
            request.wfile.write(content[start : start + abs(cut)])
            request.close_connection = True
            if cut < 0:
                request.wfile.flush()
                self.ended.wait(60)
