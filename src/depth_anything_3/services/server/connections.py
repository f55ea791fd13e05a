"""Close connections on which no request arrives."""

from __future__ import annotations

import time
from collections.abc import Iterable

__all__ = ["IdleConnections"]


class IdleConnections:
    """Closes connections of uvicorn that send no complete header: it has no time limit for that itself.

    Args:
        seconds: time that a client may take from the connection, or the last answer, to the end of a header.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[object, float] = {}

    def close_late(self, connections: Iterable[object]) -> None:
        """Note which connections wait for a request; close those that do it for too long.

        Args:
            connections: protocols of uvicorn; those of WebSockets have no `cycle`, and are left alone.
        """
        now = time.monotonic()
        waiting = {one for one in connections if _waits(one)}
        self._since = {one: self._since.get(one, now) for one in waiting}
        for one, since in self._since.items():
            if now - since > self._seconds:
                one.transport.close()  # type: ignore[attr-defined]  # as in asyncio's examples of protocols


def _waits(connection: object) -> bool:
    if not hasattr(connection, "cycle"):
        return False
    return connection.cycle is None or bool(connection.cycle.response_complete)
