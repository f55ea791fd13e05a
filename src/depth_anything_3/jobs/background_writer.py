"""Write results in a background thread, in order, so that the network need not wait for encoders and disks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["BackgroundWriter"]

logger = logging.getLogger(__name__)

_MAX_PENDING = 4  # queued results; at 504 pixels one takes 3 MB


class BackgroundWriter:
    """Runs jobs one after another, in order, in a background thread.

    Leaving the `with` block waits for all jobs, also after Ctrl-C or an error. When a job raises, the jobs after it are
    dropped.

    Args:
        max_pending: number of unfinished jobs at which `put` blocks.
    """

    def __init__(self, max_pending: int = _MAX_PENDING) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="da3-writer")
        self._slots = threading.Semaphore(max_pending)
        self._error: BaseException | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Queue a job; block while the queue is full.

        Raises:
            BaseException: the error of an earlier job.
        """
        self._slots.acquire()
        if self._error is not None:
            self._slots.release()
            raise self._error
        self._thread.submit(self._do, work)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            if self._error is None:
                work()
        except BaseException as error:  # raised again by `put` or at the end of the block
            self._error = error
        finally:
            self._slots.release()

    def __enter__(self) -> BackgroundWriter:
        # Start the thread now: an executor interrupted by Ctrl-C while it starts its thread does not wait for it.
        self._thread.submit(int).result()
        return self

    def __exit__(self, _kind: object, left_by: BaseException | None, _traceback: object) -> None:
        self._thread.shutdown()
        if self._error is None or self._error is left_by:
            return
        if left_by is None:
            raise self._error
        logger.warning("while stopping: %s", self._error)
