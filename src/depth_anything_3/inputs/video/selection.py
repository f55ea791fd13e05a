"""Select frames by time and index, without decoding."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypedDict

from depth_anything_3.errors import InvalidInputError, VideoReadError
from depth_anything_3.runtime.option_values import positive_int

__all__ = ["FrameSelection", "SelectionKwargs", "parse_time"]

_TIMESTAMP_TOLERANCE = 0.005
"""Seconds that a frame may be early for its interval, at most a quarter of it. Containers round timestamps (Matroska to
milliseconds) and cameras jitter, but selecting 30 fps from a 30 fps video must return every frame."""

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
    """Which frames to return.

    Attributes:
        fps: maximum frames per second, evenly spaced in time: the first frame of each interval. Frames are neither
            duplicated nor retimed, so a slower video is unchanged.
        every: return every n-th frame between `start` and `end`, beginning with the first.
        start, end: seconds from the source's first frame; `end` is exclusive.
        after: a `Frame.time`, to resume an earlier run. Frames up to it count as selected but are not returned.
        keyframes: return only keyframes of encoded videos, so that hardly anything is decoded.

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
            raise InvalidInputError(f"fps={self.fps!r}: give frames per second, greater than 0")
        if self.every is not None:
            positive_int("every", self.every)
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None and not (0 <= value < math.inf):
                raise InvalidInputError(f"{name}={value!r}: give seconds from the first frame, 0 or more")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise InvalidInputError(f"end={self.end:g} is not after start={self.start or 0.0:g}")

    def kwargs(self) -> SelectionKwargs:
        """Return the values as keyword arguments of `open_source`."""
        return {
            "fps": self.fps,
            "every": self.every,
            "start": self.start,
            "end": self.end,
            "after": self.after,
            "keyframes": self.keyframes,
        }

    def selector(self, origin: float) -> FrameSelector:
        """Return a selector for a source whose first frame has the time `origin`."""
        return FrameSelector(self, origin)

    def seek_time(self, origin: float) -> float:
        """Return the time by the source's clock from which frames must be read."""
        begin = origin + (self.start or 0.0)
        if self.after is None or self.every is not None:  # every n-th frame is counted from the start
            return begin
        return max(begin, self.after)


class FrameSelector:
    """Decides frame by frame, in time order."""

    def __init__(self, selection: FrameSelection, origin: float) -> None:
        self._selection = selection
        self._origin = origin
        self._start = selection.start or 0.0
        self._seen = 0  # between start and end
        self._interval = -1

    def selects(self, time: float) -> bool:
        """Whether to return the frame at this time."""
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
        # From the clock instead of accumulated intervals, so that it does not drift over hours.
        interval = math.floor((seconds - self._start) * fps + min(0.25, _TIMESTAMP_TOLERANCE * fps))
        if interval <= self._interval:
            return False
        self._interval = interval
        return new

    def check_start(self, label: str, end: float) -> None:
        """Check, when the source has ended at the time `end`, that it reached the start of the selection.

        Raises:
            VideoReadError: all frames are before the start.
        """
        chosen = self._selection
        if chosen.start and not self._seen and chosen.after is None and not chosen.keyframes:
            raise VideoReadError(
                f"{label}: no frame at or after start={chosen.start:g} s; the video is {end - self._origin:.2f} s "
                "long. Give an earlier start"
            )

    def is_past(self, time: float) -> bool:
        """Whether this frame and all later ones are past the end."""
        return self._selection.end is not None and time - self._origin >= self._selection.end


def parse_time(text: str, *, name: str = "time") -> float:
    """Parse "90", "90.5", "1:30" or "0:01:30.5" to seconds.

    Args:
        text: the time.
        name: name of the option, for the message.

    Raises:
        InvalidInputError: the text has another format.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise InvalidInputError(
            f"{name}={text!r} is not a time; give seconds (90.5), minutes (1:30.5) or hours (0:01:30.5)"
        )
    hours, minutes, seconds = match.groups()
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + float(seconds)
