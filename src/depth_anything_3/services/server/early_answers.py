"""Let clients read an answer that came before the server had read their request."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["EarlyAnswers"]

_SECONDS = 2.0


class EarlyAnswers:
    """ASGI middleware: after an early answer, such as 413 or 429, it discards the rest of the body for a moment.

    If the connection were closed at once, what the client still sends would reset it (RFC 9112, 9.6), and many
    clients would report a broken connection instead of the answer.

    Args:
        app: what answers.
        max_bytes: at most so much is discarded.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        is_read = False

        async def receiving() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if is_last and not is_read:
                await send({**message, "more_body": True})
                await self._discard(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, receiving, sending)

    async def _discard(self, receive: Receive) -> None:
        async def discard() -> None:
            left = self._max_bytes
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return

        try:
            await asyncio.wait_for(discard(), _SECONDS)
        except asyncio.TimeoutError:  # it had time to read the answer
            return


def _has_body(scope: Scope) -> bool:
    """Whether a body comes, also if it is not asked for by "100 Continue"."""
    headers = dict(scope["headers"])
    claimed = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    return claimed and b"expect" not in headers
