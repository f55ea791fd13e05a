"""Record the finished frames of a video in a CSV file, from which a run is resumed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["FrameLog", "RunState"]

_TITLES = "number,seconds"
_COMPLETE = "# complete"


@dataclass(frozen=True)
class RunState:
    """State needed to resume a run.

    Attributes:
        inverse_depth: range of inverse depth that the colours cover, or None.
        depth_scale: depth of one level of the 16-bit video, or None.
        resumed_at: number of frames that were done when the last run started.
        times: `Frame.time` of each finished frame, in seconds.
        complete: whether the run is complete.
    """

    inverse_depth: tuple[float, float] | None = None
    depth_scale: float | None = None
    resumed_at: int = 0
    times: tuple[float, ...] = field(default=())
    complete: bool = False

    @classmethod
    def read(cls, path: Path) -> RunState | None:
        """Read the state of a run; None if there is no file. An unfinished last line is ignored.

        Raises:
            InvalidInputError: the file cannot be read, or is not a progress log.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path}: cannot be read ({error}); delete it to start over") from error
        lines = text.split("\n")[:-1]
        try:
            header = json.loads(lines[0].removeprefix("# "))
            numbers = [line for line in lines[2:] if line != _COMPLETE]
            times = tuple(float(line.split(",")[1]) for line in numbers)
            inverse_depth = header["inverse_depth"]
            return cls(
                None if inverse_depth is None else (inverse_depth[0], inverse_depth[1]),
                header["depth_scale"],
                header["resumed_at"],
                times,
                lines[-1] == _COMPLETE,
            )
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(f"{path}: is not a valid progress log; delete it to start over") from error

    def done(self, frames: int) -> RunState:
        """Return the state after this many frames."""
        return replace(self, resumed_at=frames, times=self.times[:frames], complete=False)


class FrameLog:
    """Writes the state of a run, one line per finished frame.

    Args:
        path: replaced atomically; lines are then appended.
        state: state to start from.

    Raises:
        ExportError: the file cannot be written.
    """

    def __init__(self, path: Path, state: RunState) -> None:
        self._path = path
        self._count = len(state.times)
        header = {
            "inverse_depth": state.inverse_depth,
            "depth_scale": state.depth_scale,
            "resumed_at": state.resumed_at,
        }
        with atomic_write(path) as temporary:
            lines = [f"# {json.dumps(header)}", _TITLES, *(f"{n},{time!r}" for n, time in enumerate(state.times))]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def add(self, time: float) -> None:
        """Append a finished frame."""
        self._write(f"{self._count},{time!r}\n")
        self._count += 1

    def complete(self) -> None:
        """Mark the run as complete."""
        self._write(f"{_COMPLETE}\n")

    def _write(self, line: str) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise ExportError(f"{self._path}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
