"""Bound what accepted requests hold: their number, pixels and bytes."""

from __future__ import annotations

import math
import threading
import time

from depth_anything_3.services.server.problems import busy, draining
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["Admission"]

_SMOOTHING = 0.2
_FIRST_GUESS = 1.0  # seconds an image, before one was computed
_MAX_RETRY = 120  # seconds
_MAX_SAMPLE = 10.0  # seconds; the server may have been idle in between


class Admission:
    """Counts accepted requests until their answer is sent; refuses others beyond the limits of the settings."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._is_draining = False
        self.requests = self.pixels = self.bytes = 0
        self._seconds_per_image = _FIRST_GUESS
        self._finished_at = 0.0

    @property
    def is_draining(self) -> bool:
        """Whether no more requests are accepted."""
        return self._is_draining

    def drain(self) -> None:
        """Accept no more requests. Called from a signal handler: it takes no lock."""
        self._is_draining = True

    def check(self) -> None:
        """Refuse a request before its body is read, if it would be refused after that.

        Raises:
            Problem: 429 or 503.
        """
        if self._is_draining:
            raise draining()
        if self.requests >= self._settings.max_requests:
            raise self._busy(f"{self.requests} requests wait already")

    def hold_bytes(self, count: int) -> None:
        """Count bytes of a body; the caller gives them back with `release_bytes`.

        Raises:
            Problem: 429.
        """
        with self._lock:
            # One large body alone is always accepted: `max_body_bytes` bounds it.
            if self.bytes and self.bytes + count > self._settings.max_queue_bytes:
                raise self._busy("the requests that wait already hold all the memory for bodies")
            self.bytes += count

    def release_bytes(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            self.bytes -= count

    def enter(self, pixels: int) -> None:
        """Accept a request for an image of so many pixels; the caller ends it with `leave`.

        Raises:
            Problem: 429 or 503.
        """
        with self._lock:
            self.check()
            # One large image alone is always accepted: `max_pixels` bounds it.
            if self.requests and self.pixels + pixels > self._settings.max_queue_pixels:
                raise self._busy(f"images of {self.pixels:,} pixels wait already")
            self.requests += 1
            self.pixels += pixels

    def leave(self, pixels: int) -> None:
        """End an accepted request."""
        with self._lock:
            self.requests -= 1
            self.pixels -= pixels

    def computed(self) -> None:
        """Note that an image was computed, from which the rate is measured."""
        now = time.monotonic()
        with self._lock:
            seconds = min(now - self._finished_at, _MAX_SAMPLE)
            if self.requests > 1 and self._finished_at:  # between two images that waited
                self._seconds_per_image += _SMOOTHING * (seconds - self._seconds_per_image)
            self._finished_at = now

    def _busy(self, reason: str) -> Exception:
        seconds = math.ceil(self.requests * self._seconds_per_image)
        return busy(min(max(1, seconds), _MAX_RETRY), reason)
