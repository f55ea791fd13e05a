"""Serve the page with results that are known: what the server's contract promises, without a network."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np

import depth_anything_3

__all__ = ["PAGE", "POLICY", "Answer", "PageServer", "Request", "serve_page"]

PAGE = Path(depth_anything_3.__file__).parent / "services" / "page"
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Request(NamedTuple):
    """A request that the server got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What it answers."""

    status: int
    content: bytes
    media_type: str
    headers: Mapping[str, str] = MappingProxyType({})


def problem(status, detail, **headers):
    content = json.dumps({"type": "urn:da3:error:test", "title": "Test", "status": status, "detail": detail}).encode()
    return Answer(status, content, "application/problem+json", {k.replace("_", "-"): v for k, v in headers.items()})


@dataclass
class PageServer:
    """What the server knows, and what it was asked."""

    depth: np.ndarray
    unit: str = "metres"
    intrinsics: str | None = None
    model: dict[str, object] = field(default_factory=dict)
    token: str | None = None
    refusals: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    scene_ply: bytes = b""
    url: str = ""

    def answer(self, request: Request) -> Answer:
        if request.method == "GET" and (request.path == "/" or request.path.startswith("/static/")):
            path = PAGE / (request.path.removeprefix("/static/") if request.path != "/" else "index.html")
            return Answer(200, path.read_bytes(), _MEDIA_TYPES[path.suffix])
        self.requests.append(request)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return problem(401, "give the token")
        if request.path == "/v1/models":
            facts = {"model": "test", "licence": "Apache-2.0", "depth_unit": self.unit, "process_res": 504} | self.model
            return Answer(200, json.dumps(facts).encode(), "application/json")
        if request.path == "/v1/depth":
            return self.refusals.pop(0) if self.refusals else self.depth_answer(request)
        return self.scene_answer(request)

    def depth_answer(self, request: Request) -> Answer:
        accept = request.headers["accept"]
        height, width = self.depth.shape
        headers = {"X-Depth-Unit": self.unit, "X-Depth-Shape": f"{height},{width}", "X-Network-Ms": "12.5"}
        if self.intrinsics:
            headers["X-Depth-Intrinsics"] = self.intrinsics
        raw = self.depth.astype("<f4").tobytes()
        return Answer(200, raw if accept == "application/octet-stream" else b"as " + accept.encode(), accept, headers)

    def scene_answer(self, request: Request) -> Answer:
        done = {"id": "7", "status": "done", "results": {"ply": "/v1/jobs/7/scene.ply", "glb": "/v1/jobs/7/scene.glb"}}
        answers = {
            ("POST", "/v1/scenes"): Answer(202, b'{"id": "7", "status_url": "/v1/jobs/7"}', "application/json"),
            ("GET", "/v1/jobs/7"): Answer(200, json.dumps(done).encode(), "application/json"),
            ("GET", "/v1/jobs/7/scene.ply"): Answer(200, self.scene_ply, "application/octet-stream"),
            ("GET", "/v1/jobs/7/scene.glb"): Answer(200, b"glTF", "model/gltf-binary"),
            ("DELETE", "/v1/jobs/7"): Answer(204, b"", "text/plain"),
        }
        return answers.get((request.method, request.path), problem(404, "nothing is here"))


@contextmanager
def serve_page(depth: np.ndarray, **facts: object) -> Iterator[PageServer]:
    """Serve the page at `url`, and this depth for every image."""
    known = PageServer(depth, **facts)  # type: ignore[arg-type]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = known.answer(Request(self.command, url.path, query, headers, body))
            self.send_response(answer.status)
            own = {
                "Content-Type": answer.media_type,
                "Content-Security-Policy": POLICY,
                "X-Content-Type-Options": "nosniff",
            }
            for name, value in (own | dict(answer.headers)).items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
