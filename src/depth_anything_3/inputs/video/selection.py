"""Select the frames of a source by time and position, without decoding."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypedDict

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.runtime.option_values import positive_int

__all__ = ["FrameSelection", "SelectionKwargs", "parse_time"]

_EARLY = 0.005
"""Seconds that a frame may come before its interval, at most a quarter of one. Containers round times (Matroska to
milliseconds) and cameras tremble, and a video of 30 frames a second asked for 30 must keep them all."""

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)")


class SelectionKwargs(TypedDict, total=False):
    """Keyword arguments of calls that read a video; see `FrameSelection`."""

    fps: float | None
    every: int | None
    start: float | None
    end: float | None
    after: float | None
    keyframes: bool


@dataclass(frozen=True)
class FrameSelection:
    """The frames to take.

    Attributes:
        fps: at most so many a second, evenly spaced in time: the first frame of each interval. Frames are neither
            doubled nor moved in time, so a slower video stays as it is.
        every: each n-th frame between `start` and `end`, from the first.
        start, end: seconds from the source's first frame; `end` itself is left out.
        after: a `Frame.time`. Frames up to it count as taken, but are not given: an earlier run had them.
        keyframes: of encoded videos only those frames that need no other one, so that hardly anything is decoded.

    Raises:
        InvalidInputError: a value is not accepted.
    """

    fps: float | None = None
    every: int | None = None
    start: float | None = None
    end: float | None = None
    after: float | None = None
    keyframes: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and not (0 < self.fps < math.inf):
            raise InvalidInputError(f"fps={self.fps!r}: give frames a second, more than 0")
        if self.every is not None:
            positive_int("every", self.every)
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None and not (0 <= value < math.inf):
                raise InvalidInputError(f"{name}={value!r}: give seconds from the first frame, 0 or more")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise InvalidInputError(f"end={self.end:g} is not after start={self.start or 0.0:g}")

    def kwargs(self) -> SelectionKwargs:
        """The values as keyword arguments of `open_source`."""
        return {
            "fps": self.fps,
            "every": self.every,
            "start": self.start,
            "end": self.end,
            "after": self.after,
            "keyframes": self.keyframes,
        }

    def begin(self, origin: float) -> FrameSelector:
        """What decides for the frames of a source whose first one has the time `origin`."""
        return FrameSelector(self, origin)

    def sought(self, origin: float) -> float:
        """The time from which frames must be looked at, of the source's clock."""
        begin = origin + (self.start or 0.0)
        if self.after is None or self.every is not None:  # every n-th is counted from the start
            return begin
        return max(begin, self.after)


class FrameSelector:
    """Decides for one frame after the other, in the order of their times."""

    def __init__(self, selection: FrameSelection, origin: float) -> None:
        self._selection = selection
        self._origin = origin
        self._start = selection.start or 0.0
        self._seen = 0  # between start and end
        self._interval = -1

    def takes(self, time: float) -> bool:
        """Whether to take the frame of this time."""
        seconds = time - self._origin
        if seconds < self._start or self.is_past(time):
            return False
        new = self._selection.after is None or time > self._selection.after
        self._seen += 1
        if self._selection.every is not None:
            return new and (self._seen - 1) % self._selection.every == 0
        fps = self._selection.fps
        if fps is None:
            return new
        # From the clock, not by adding intervals up, so that nothing drifts over hours.
        interval = math.floor((seconds - self._start) * fps + min(0.25, _EARLY * fps))
        if interval <= self._interval:
            return False
        self._interval = interval
        return new

    def is_past(self, time: float) -> bool:
        """Whether this frame and all after it come too late."""
        return self._selection.end is not None and time - self._origin >= self._selection.end


def parse_time(text: str) -> float:
    """Seconds of "90", "90.5", "1:30" or "0:01:30.5".

    Raises:
        InvalidInputError: it is none of these.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise InvalidInputError(f"{text!r} is no time; give seconds (90.5), minutes (1:30.5) or hours (0:01:30.5)")
    hours, minutes, seconds = match.groups()
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + float(seconds)
