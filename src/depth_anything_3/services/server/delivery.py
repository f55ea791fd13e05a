"""Send a result as fast as its reader takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from fastapi import Response
from starlette.types import Receive, Scope, Send

__all__ = ["Delivery"]

logger = logging.getLogger(__name__)

_PIECE = 256 << 10


class Delivery(Response):
    """A result that is sent in pieces: the next one when the client has read most of the last one.

    Args:
        content: the body.
        headers: of the answer.
        seconds: time that a client may take to read a piece; the connection is closed after that.
        on_end: called once the result is sent, or nobody reads it any more.
    """

    def __init__(
        self, content: bytes, headers: Mapping[str, str], seconds: float, on_end: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(content, headers=dict(headers))
        self._seconds, self._on_end = seconds, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the result."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, len(self.body), _PIECE):
                piece = bytes(self.body[start : start + _PIECE])
                await asyncio.wait_for(
                    send({"type": "http.response.body", "body": piece, "more_body": True}), self._seconds
                )
            await asyncio.wait_for(send({"type": "http.response.body", "body": b"", "more_body": False}), self._seconds)
        except asyncio.TimeoutError:  # the server closes the connection of an incomplete answer
            logger.info("a client read less than %d bytes within %g s; its connection is closed", _PIECE, self._seconds)
        finally:
            self._on_end()
