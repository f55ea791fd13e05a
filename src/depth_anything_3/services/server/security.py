"""Check who asks, before a request reaches a route, and protect pages by headers."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
import time
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from depth_anything_3.services.server.metrics import ServerMetrics
from depth_anything_3.services.server.problems import PROBLEM_TYPE, Problem, problem_of
from depth_anything_3.services.server.settings import ServerSettings, is_loopback
from depth_anything_3.services.server.uploads import declared_bytes

__all__ = ["SECURITY_HEADERS", "Gate", "is_same_token", "needs_token"]

logger = logging.getLogger(__name__)

_MAX_HEADERS = 100
_MAX_HEADER_BYTES = 16 << 10
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 (compared with, not bound to)

_CONTENT_SECURITY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

SECURITY_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer."""


class Gate:
    """ASGI middleware: Host, Origin and token; the size that a body claims; headers of answers; a line in the log.

    Args:
        app: what answers the requests that pass.
        settings: see `ServerSettings`.
        metrics: counts answers.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: ServerMetrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        own = {settings.host.strip("[]").lower()} - set(_WILDCARDS)
        if not settings.is_local:
            own.add(socket.gethostname().lower())
        self._hosts = own | settings.hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                added = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in added.items()
                        if name.lower().encode() not in present
                    ),
                ]
            await send(message)

        try:
            self._check(scope)
        except Problem as problem:
            await _refuse(scope, receive, sending, problem)
        else:
            try:
                await self._app(scope, receive, sending)
            except Exception as error:  # a bug: the client learns nothing but that there is one
                logger.error("%s failed", scope["path"][:200], exc_info=error)
                if status or scope["type"] == "websocket":
                    raise
                await _refuse(scope, receive, sending, problem_of(error))
        if scope["type"] == "http":
            self._log(scope, status, time.perf_counter() - began)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")  # the pattern: paths of strangers would be endless
        self._metrics.request(route, status)
        logger.info("%s %s %d, %.1f ms", scope["method"], scope["path"][:200], status, 1e3 * seconds)

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        if len(headers) > _MAX_HEADERS:
            raise Problem(431, "too-many-headers", f"{len(headers)} headers; send at most {_MAX_HEADERS}")
        if (size := sum(len(name) + len(value) for name, value in headers)) > _MAX_HEADER_BYTES:
            raise Problem(431, "too-many-headers", f"headers of {size:,} bytes; send at most {_MAX_HEADER_BYTES:,}")
        hosts = _values(headers, b"host")
        if len(hosts) != 1 or not self._knows(hosts[0]):
            shown = ", ".join(hosts)[:100]
            raise Problem(
                403,
                "foreign-host",
                f"Host {shown!r} is not a name of this server; whoever runs it can allow it with --allow-hosts",
            )
        for origin in _values(headers, b"origin"):
            if not self._allows(origin, hosts[0]):
                raise Problem(
                    403,
                    "foreign-origin",
                    f"pages of {origin[:100]!r} may not use this server; whoever runs it can allow it with "
                    "--allow-origins",
                )
        if self._settings.token is not None and not _is_open(scope) and not needs_token(scope):
            self._check_token(_values(headers, b"authorization"), self._settings.token)
        for length in _values(headers, b"content-length"):
            declared_bytes(length, self._settings.max_body_bytes)

    def _knows(self, host: str) -> bool:
        """Whether a Host header names this server. Prevents DNS rebinding."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if is_loopback(name) or name in self._hosts:
            return True
        return not self._settings.is_local and _is_address(name)  # an address cannot be rebound

    def _allows(self, origin: str, host: str) -> bool:
        own = (f"http://{host}".lower(), f"https://{host}".lower())
        return origin.lower() in own or origin.lower() in self._settings.origins

    @staticmethod
    def _check_token(given: list[str], token: str) -> None:
        scheme, _, value = (given[0] if len(given) == 1 else "").partition(" ")
        same = is_same_token(value.strip(), token)
        if scheme.lower() != "bearer" or not same:
            headers = {"WWW-Authenticate": 'Bearer realm="da3"'}
            raise Problem(
                401, "no-token", "send the token of this server as Authorization: Bearer TOKEN", None, headers
            )


def is_same_token(given: str, token: str) -> bool:
    """Compare a token in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


def needs_token(scope: Scope) -> bool:
    """Whether this is a WebSocket without an Authorization header: its route must demand the token as a message."""
    return scope["type"] == "websocket" and not _values(scope["headers"], b"authorization")


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _is_open(scope: Scope) -> bool:
    """Whether a path needs no token: the page, which asks for it, and the sign of life."""
    path = scope["path"]
    return scope["type"] == "http" and (path in ("/", "/healthz", "/favicon.ico") or path.startswith("/static/"))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(scope: Scope, receive: Receive, send: Send, problem: Problem) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": problem.detail[:100]})
        return
    body = problem.body()
    headers = {"Content-Type": PROBLEM_TYPE, "Content-Length": str(len(body)), "Connection": "close", **problem.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
