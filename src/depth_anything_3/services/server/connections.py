"""Close connections on which nothing moves."""

from __future__ import annotations

import time
from collections.abc import Iterable

__all__ = ["SlowConnections"]


class SlowConnections:
    """Closes connections of uvicorn that send no complete header, or read no answer: it has no time limit for these.

    Args:
        seconds: time that a client may take from the connection, or the first byte after an answer, to the end of a
            header; time that it may read nothing of an answer that waits for it; time to read the rest after the
            server closed. Connections that are idle after an answer are left to uvicorn.
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
    if connection.cycle is not None and not connection.cycle.response_complete:
        return None
    # To abort an idle connection would fail a request that is on its way; uvicorn closes it after its own time.
    is_idle = getattr(connection, "timeout_keep_alive_task", None) is not None
    return None if is_idle else "header"
