"""Pieces of writing in, done in a thread of its own, in order: what computes need not wait for encoders and disks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["BackgroundWriter"]

logger = logging.getLogger(__name__)

_MAX_PENDING = 4  # results that wait for the writer; at 504 pixels one holds 3 MB


class BackgroundWriter:
    """Does work one piece after another, in the order given, while the caller goes on.

    Leaving its `with` block waits until everything given is done, also when Ctrl-C or an error leaves it. After a piece
    that raised none is begun.
    """

    def __init__(self, ahead: int = _MAX_PENDING) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="da3-writer")
        self._room = threading.Semaphore(ahead)
        self._error: BaseException | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Have a piece of work done; waits while as many as may are waiting or under way.

        Raises:
            BaseException: what an earlier piece raised.
        """
        self._room.acquire()
        if self._error is not None:
            self._room.release()
            raise self._error
        self._thread.submit(self._do, work)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            if self._error is None:
                work()
        except BaseException as error:  # raised again where work is given
            self._error = error
        finally:
            self._room.release()

    def __enter__(self) -> BackgroundWriter:
        # Begun before there is work: an executor that Ctrl-C meets while it starts its thread would not wait for it.
        self._thread.submit(int).result()
        return self

    def __exit__(self, _kind: object, left_by: BaseException | None, _traceback: object) -> None:
        self._thread.shutdown()
        if self._error is None or self._error is left_by:
            return
        if left_by is None:
            raise self._error
        logger.warning("while stopping: %s", self._error)
