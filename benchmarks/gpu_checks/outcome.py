"""Collect the outcomes of a section, and write each to disk at once, so that a crash loses only later ones."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["FAILED", "Outcome", "Report"]

PASSED, FAILED, MEASURED, SKIPPED = "passed", "FAILED", "measured", "skipped"


@dataclass(frozen=True)
class Outcome:
    """One line of the result.

    Attributes:
        name: what was looked at.
        status: "passed", "FAILED", "measured" or "skipped".
        text: the numbers or the reason, in a few words.
        data: all numbers.
    """

    name: str
    status: str
    text: str
    data: dict[str, Any]  # Any: plain JSON values


class Report:
    """Outcomes of one section, written to a file after each.

    Args:
        path: of the JSON file.
        seconds: that the section may take.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._end = time.monotonic() + seconds
        self._outcomes: list[Outcome] = []

    @property
    def folder(self) -> Path:
        """Where a section may leave more files."""
        return self._path.parent

    @property
    def seconds_left(self) -> float:
        """Of the section's time; 0 when it is over."""
        return max(0.0, self._end - time.monotonic())

    def check(self, name: str, good: bool, text: str, **data: Any) -> None:  # Any: plain JSON values
        """Record a condition that must hold."""
        self._add(Outcome(name, PASSED if good else FAILED, text, data))

    def measured(self, name: str, text: str, **data: Any) -> None:
        """Record numbers without a verdict."""
        self._add(Outcome(name, MEASURED, text, data))

    def skipped(self, name: str, why: str) -> None:
        """Record what could not be done here."""
        self._add(Outcome(name, SKIPPED, why, {}))

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Record an exception within the block as a failed outcome, and continue after the block."""
        try:
            yield
        except Exception as error:  # native libraries raise anything, and the rest must still be measured
            first = str(error).strip().partition("\n")[0][:300]
            self._add(Outcome(name, FAILED, f"{type(error).__name__}: {first}", {"trace": traceback.format_exc()}))

    def _add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        print(f"{outcome.status}: {outcome.name}: {outcome.text}", flush=True)
        self._path.write_text(json.dumps([asdict(one) for one in self._outcomes], default=str), encoding="utf-8")
