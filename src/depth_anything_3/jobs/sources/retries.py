"""Repeat what a store refuses, with growing pauses, for a bounded time."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from io import UnsupportedOperation
from typing import TypeVar

from depth_anything_3.errors import DA3Error
from depth_anything_3.jobs.sources.address import reason

__all__ = ["Retries", "is_permanent"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, UnsupportedOperation, DA3Error)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound")
_LASTING_STATUS = range(400, 500)
_PASSING_STATUS = (408, 425, 429)


def is_permanent(error: Exception) -> bool:
    """Whether trying again is of no use: the object or the permission is missing, or the request is wrong."""
    if isinstance(error, _PERMANENT) or type(error).__name__ in _NO_CREDENTIALS:
        return True
    if isinstance(error, OSError) and error.errno == errno.EINVAL:  # s3fs: the range of an empty object
        return True
    cause = getattr(error, "reason", None)  # of urllib's errors
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:  # no such server
        return True
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(status, int) and status in _LASTING_STATUS and status not in _PASSING_STATUS


class Retries:
    """Retries calls to one store. Thread-safe.

    Threads share the knowledge that the store refuses: once it has done so for `seconds`, each further call is tried
    once only, until one succeeds. Else a million images would each wait that long.

    Args:
        store: its name in messages.
        seconds: how long a call is repeated.
        first, longest: pauses in seconds; each is twice the one before.
        clock, sleep: as in `time`.
    """

    def __init__(
        self,
        store: str,
        *,
        seconds: float = 60.0,
        first: float = 0.5,
        longest: float = 8.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._seconds, self._first, self._longest = store, seconds, first, longest
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._is_refused = self._is_given_up = False

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Return `work()`.

        Raises:
            Exception: the error of the last attempt.
        """
        began, pause = self._clock(), self._first
        while True:
            try:
                result = work()
            except Exception as error:  # each library of a store has errors of its own
                if is_permanent(error) or self._give_up(error, self._clock() + pause - began > self._seconds):
                    raise
                self._sleep(pause)
                pause = min(2 * pause, self._longest)
            else:
                self._note_answer()
                return result

    def _give_up(self, error: Exception, is_late: bool) -> bool:
        """Note a refusal; whether to give up, as another call may have done already."""
        with self._lock:
            if not self._is_refused:
                self._is_refused = True
                logger.warning("%s: %s; trying again for up to %g s", self._store, reason(error), self._seconds)
            self._is_given_up |= is_late
            return self._is_given_up

    def _note_answer(self) -> None:
        with self._lock:
            if self._is_refused:
                logger.info("%s answers again", self._store)
            self._is_refused = self._is_given_up = False
