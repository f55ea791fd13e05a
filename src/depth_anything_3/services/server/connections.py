"""Close connections on which nothing moves."""

from __future__ import annotations

import time
from collections.abc import Iterable

__all__ = ["SlowConnections"]


class SlowConnections:
    """Closes connections of uvicorn that send no complete header, or read no answer: it has no time limit for these.

    Args:
        seconds: time that a client may take from the connection, or the last answer, to the end of a header; time
            that it may read nothing of an answer that waits for it; time to read the rest after the server closed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[object, tuple[object, float]] = {}

    def close_late(self, connections: Iterable[object]) -> None:
        """Note what each connection waits for; close those that wait for the same thing for too long.

        Args:
            connections: protocols of uvicorn, of HTTP and of WebSockets.
        """
        now = time.monotonic()
        states = {one: _waits_for(one) for one in connections}
        before, self._since = self._since, {}
        for one, state in states.items():
            if state is None:
                continue
            known, since = before.get(one, (state, now))
            self._since[one] = (state, since if known == state else now)
            if known == state and now - since > self._seconds:
                one.transport.abort()  # type: ignore[attr-defined]  # as in asyncio's examples of protocols


def _waits_for(connection: object) -> object:
    """Return "closing", the number of bytes to be sent, "header", or None: for the server's own work, or a body."""
    transport = getattr(connection, "transport", None)
    if transport is None:
        return None
    if transport.is_closing():
        return "closing"
    if unsent := transport.get_write_buffer_size():
        return unsent
    if not hasattr(connection, "cycle"):  # a WebSocket, which may be silent
        return None
    cycle = connection.cycle
    return "header" if cycle is None or cycle.response_complete else None
