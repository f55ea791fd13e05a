"""Read how a frame of PyAV is to be rotated and mirrored."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["DisplayMatrix", "DisplayMatrixReader"]

_MAX_KINDS = 64  # of side data; FFmpeg 8.1 has 33


class DisplayMatrix(NamedTuple):
    """The signs of the nearest quarter rotation: (x, y) is displayed at (ax + cy, bx + dy)."""

    a: int
    b: int
    c: int
    d: int


class DisplayMatrixReader:
    """Read the display matrix of frames of one video, in order.

    It can change at keyframes only. The other frames are not asked, because PyAV's list of side data refers to its
    frame, which then lives until the garbage collector runs: 12 MB a frame at 4K.

    PyAV cannot list a frame's side data if one kind is newer than its own table, such as the Exif block of a photo or
    of motion JPEG. A filter then removes those kinds.
    """

    def __init__(self) -> None:
        self._filter: tuple[tuple[object, ...], Any] | None = None  # Any: PyAV is optional
        self._last: DisplayMatrix | None = None

    def __call__(self, frame: Any) -> DisplayMatrix:
        """Return the frame's display matrix; upright if it has none."""
        if self._last is None or frame.key_frame:
            self._last = self._read(frame)
        return self._last

    def _read(self, frame: Any) -> DisplayMatrix:
        try:
            data = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:
            data = self._with_known_kinds(frame).side_data.get("DISPLAYMATRIX")
        if data is None:
            return DisplayMatrix(1, 0, 0, 1)
        a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
        if abs(a) >= abs(b):
            return DisplayMatrix(1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)
        return DisplayMatrix(0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)

    def _with_known_kinds(self, frame: Any) -> Any:
        """Return a reference to the frame without the kinds of side data that PyAV does not know."""
        layout = frame.width, frame.height, frame.format.name, frame.time_base
        if self._filter is None or self._filter[0] != layout:
            self._filter = layout, _filter_graph(frame)
        graph = self._filter[1]
        graph.push(frame)
        return graph.pull()


def _filter_graph(frame: Any) -> Any:
    from av.filter import Graph
    from av.sidedata.sidedata import Type

    known = {int(one.value) for one in Type}  # type: ignore[call-overload]  # the stubs have no values
    graph = Graph()
    chain = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format.name,
            time_base=frame.time_base or Fraction(1, 1000),
        )
    ]
    chain += [graph.add("sidedata", mode="delete", type=str(kind)) for kind in range(_MAX_KINDS) if kind not in known]
    chain.append(graph.add("buffersink"))
    graph.link_nodes(*chain).configure()
    return graph
