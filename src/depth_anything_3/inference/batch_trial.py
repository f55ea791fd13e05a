"""Choose the batch size for one size of image from the times of real batches."""

from __future__ import annotations

__all__ = ["MAX_TRIED", "TRIAL_IMAGES", "BatchTrial"]

_CANDIDATES = (1, 2, 4, 8)
_UNTIMED = 1  # batches: the first of a new shape also allocates memory and prepares kernels
_TIMED = 2  # batches: the faster counts, because other work on the machine only adds time
_MIN_GAIN = 0.05  # of the time per image: what a larger batch must save, so that noise does not choose it

MAX_TRIED = _CANDIDATES[-1]
"""The largest batch size that is tried."""

_AHEAD = 4  # batches of a candidate that are made already when the next one is tried; they do not count

TRIAL_IMAGES = (_UNTIMED + _TIMED) * sum(_CANDIDATES) + _AHEAD * sum(_CANDIDATES[:-1])
"""Images that the longest trial takes."""


class BatchTrial:
    """Tries batches of 1, 2, 4 and 8 images in this order, and stops at the first that is not faster per image.

    A candidate is chosen if it takes at most 95 % of the time per image of the one chosen so far.

    Args:
        limit: maximum batch size.

    Attributes:
        candidate: batch size to compute next; the choice when the trial has ended.
        ended: whether the choice is made.
    """

    def __init__(self, limit: int) -> None:
        self._candidates = [one for one in _CANDIDATES if one <= limit]
        self._chosen, self._least = 1, float("inf")
        self._seconds: list[float] = []
        self.candidate = self._candidates.pop(0) if self._candidates else 1
        self.ended = not self._candidates

    def record(self, count: int, seconds: float) -> None:
        """Record the time that the network took for `count` images; batches of other sizes are ignored."""
        if self.ended or count != self.candidate:
            return
        self._seconds.append(seconds / count)
        if len(self._seconds) < _UNTIMED + _TIMED:
            return
        each = min(self._seconds[_UNTIMED:])
        self._seconds.clear()
        is_slower = each >= self._least
        if each <= (1 - _MIN_GAIN) * self._least:
            self._chosen, self._least = count, each
        self.ended = is_slower or not self._candidates
        self.candidate = self._chosen if self.ended else self._candidates.pop(0)
