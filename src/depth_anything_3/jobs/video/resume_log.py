"""Which frames of a video are done, and when each is shown: a CSV beside the results, from which a run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["FrameLog", "RunState"]

_TITLES = "number,seconds"
_COMPLETE = "# complete"


@dataclass(frozen=True)
class RunState:
    """What a run must know to be gone on with.

    Attributes:
        settings: what the results depend on; a run that goes on must have the same.
        inverse_depth: range of inverse depth that the colours cover, or None.
        depth_scale: depth of one level of the 16-bit video, or None.
        resumed_at: frames that were done when the last run began.
        times: `Frame.time` of each frame that is done.
        complete: the results are whole.
    """

    settings: Mapping[str, Any]
    inverse_depth: tuple[float, float] | None = None
    depth_scale: float | None = None
    resumed_at: int = 0
    times: tuple[float, ...] = field(default=())
    complete: bool = False

    @classmethod
    def read(cls, path: Path) -> RunState | None:
        """The state of a run; None if there was none. A line that a kill cut off does not count.

        Raises:
            InvalidInputError: the file is no such state.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path}: cannot be read ({error}); remove it to begin anew") from error
        lines = text.split("\n")[:-1]
        try:
            header = json.loads(lines[0].removeprefix("# "))
            numbers = [line for line in lines[2:] if line != _COMPLETE]
            times = tuple(float(line.split(",")[1]) for line in numbers)
            inverse_depth = header["inverse_depth"]
            return cls(
                header["settings"],
                None if inverse_depth is None else (inverse_depth[0], inverse_depth[1]),
                header["depth_scale"],
                header["resumed_at"],
                times,
                lines[-1] == _COMPLETE,
            )
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(f"{path}: does not tell how far a run came; remove it to begin anew") from error

    def done(self, frames: int) -> RunState:
        """The state when these many frames are done."""
        return replace(self, resumed_at=frames, times=self.times[:frames], complete=False)


class FrameLog:
    """Adds to the state of a run as its frames get done.

    Args:
        path: replaced in one step, and then grown line by line.
        state: where to begin.

    Raises:
        ExportError: the file cannot be written.
    """

    def __init__(self, path: Path, state: RunState) -> None:
        self._path = path
        self._count = len(state.times)
        header = {
            "settings": state.settings,
            "inverse_depth": state.inverse_depth,
            "depth_scale": state.depth_scale,
            "resumed_at": state.resumed_at,
        }
        with atomic_write(path) as aside:
            lines = [f"# {json.dumps(header)}", _TITLES, *(f"{n},{time!r}" for n, time in enumerate(state.times))]
            aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def add(self, time: float) -> None:
        """One more frame is done."""
        self._write(f"{self._count},{time!r}\n")
        self._count += 1

    def complete(self) -> None:
        """All is done."""
        self._write(f"{_COMPLETE}\n")

    def _write(self, line: str) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise ExportError(f"{self._path}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Nothing more will be done."""
        self._file.close()
