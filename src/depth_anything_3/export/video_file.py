"""Pictures with their times in, a video file out that plays whenever its writing ends, also by a kill.

A file is written in parts beside its name (`name.part001.mp4`): one for each run that was stopped and taken up again.
Parts are made of fragments a frame long, so what a killed process had written plays. `join_parts` makes the file of
them, without encoding anything again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ExportError, UnsupportedError
from depth_anything_3.export.mp4 import NEEDS_AV
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["VideoWriter", "frames_in", "join_parts", "part_files"]

_CLOCK = 90_000  # ticks a second; of H.264 in MPEG-TS, and a multiple of all usual frame rates

# Neither lookahead nor B-frames: each frame is in the file when `write` returns, in the order of its time.
_CODECS = {
    ".mp4": (
        "libx264",
        "yuv420p",
        "rgb24",
        {"crf": "18", "preset": "fast", "tune": "zerolatency"},
        {
            # The table of contents is delayed, or the file could not begin later than at 0.
            "movflags": "frag_every_frame+empty_moov+default_base_moof+delay_moov",
            "movie_timescale": str(_CLOCK),
            "flush_packets": "1",
        },
    ),
    ".mkv": (
        "ffv1",
        "gray16le",
        "gray16le",
        {"level": "3", "slicecrc": "1"},
        {"cluster_time_limit": "1", "flush_packets": "1"},
    ),
}
"""By suffix: encoder, its pixel format, that of what is given, options of encoder and container."""


class VideoWriter:
    """Writes one part of a video; a context manager.

    Args:
        target: the file that the parts will be joined to. `.mp4`: H.264, 8 bits, for looking at. `.mkv`: FFV1, 16 bits
            of grey, lossless.
        metadata: texts to keep in the file.

    Raises:
        UnsupportedError: PyAV or the encoder is not there.
        ExportError: the file cannot be written.
    """

    def __init__(self, target: Path, metadata: Mapping[str, str] | None = None) -> None:
        av = _import_av()
        encoder, self._pixel_format, self._given, options, container_options = _CODECS[target.suffix]
        if encoder not in av.codecs_available:
            raise UnsupportedError(f"{target.suffix} needs the encoder {encoder}, which this build of PyAV lacks")
        self.path = target.with_suffix(f".part{len(part_files(target)) + 1:03d}{target.suffix}")
        self.frames = 0
        self._last = -1
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(str(self.path), "w", options=container_options)  # Any: optional
        except OSError as error:
            raise ExportError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        self._container.metadata.update(metadata or {})
        self._stream = self._container.add_stream(encoder, rate=30, options=options)
        self._stream.pix_fmt = self._pixel_format
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._frame = av.VideoFrame.from_ndarray

    def write(self, picture: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], seconds: float) -> None:
        """Add a picture.

        Args:
            picture: (H, W, 3) uint8 RGB for `.mp4`, whose odd last row or column is doubled; (H, W) uint16 for `.mkv`.
                All of one size.
            seconds: from the beginning of the video; more than that of the picture before.

        Raises:
            ExportError: the file cannot be written, as when the disk is full.
        """
        pixels: npt.NDArray[Any] = picture
        if self._pixel_format == "yuv420p":
            pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
        if not self.frames:
            self._stream.height, self._stream.width = pixels.shape[:2]
        frame = self._frame(np.ascontiguousarray(pixels), format=self._given)
        frame.time_base = Fraction(1, _CLOCK)
        frame.pts = self._last = max(round(seconds * _CLOCK), self._last + 1)
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise ExportError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        self.frames += 1

    def close(self) -> None:
        """End the part; an empty one goes."""
        try:
            if self.frames:
                self._container.mux(self._stream.encode())
            self._container.close()
        except OSError as error:
            raise ExportError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        if not self.frames:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def part_files(target: Path) -> list[Path]:
    """The parts of a video that are there, in order."""
    found: list[Path] = []
    while (part := target.with_suffix(f".part{len(found) + 1:03d}{target.suffix}")).exists():
        found.append(part)
    return found


def frames_in(part: Path) -> int:
    """How many frames of a part can be read; 0 of one that was killed before its first was written."""
    try:
        with _open_part(_import_av(), part) as container:
            return sum(1 for _ in _packets(container))
    except ExportError:
        return 0


def join_parts(target: Path) -> None:
    """Make a video of its parts and remove them. What two parts both hold is taken from the later one.

    Raises:
        ExportError: parts differ in size, one cannot be read, or the file cannot be written.
    """
    av, parts = _import_av(), part_files(target)
    with atomic_write(target) as aside, ExitStack() as opened:
        movflags = {"movflags": "faststart", "movie_timescale": str(_CLOCK)} if target.suffix == ".mp4" else {}
        result = opened.enter_context(av.open(str(aside), "w", options=movflags))
        sources = [opened.enter_context(_open_part(av, part)) for part in parts]
        streams = [source.streams.video[0] for source in sources]
        result.metadata.update(
            {key: value for key, value in sources[0].metadata.items() if key.lower().startswith("depth")}
        )
        stream = result.add_stream_from_template(streams[0])
        for part, other in zip(parts, streams, strict=True):
            if bytes(other.codec_context.extradata or b"") != bytes(streams[0].codec_context.extradata or b""):
                raise ExportError(f"{part}: differs from {parts[0].name}, so they cannot be joined; begin anew")
        begins = [_first_time(part) for part in parts[1:]] + [None]
        for source, end in zip(sources, begins, strict=True):
            for packet in _packets(source):
                if end is not None and packet.pts * packet.time_base >= end:
                    break
                packet.stream = stream
                result.mux(packet)
    for part in parts:
        part.unlink()


def _first_time(part: Path) -> Fraction:
    with _open_part(_import_av(), part) as container:
        packet = next(_packets(container))
        return Fraction(packet.pts * packet.time_base)


def _open_part(av: Any, part: Path) -> Any:
    try:
        return av.open(str(part))
    except av.error.FFmpegError as error:
        raise ExportError(f"{part}: cannot be read ({error.strerror}); begin anew without --resume") from error


def _packets(container: Any) -> Iterator[Any]:
    """Whole packets of a part, whose end a kill may have cut off."""
    for packet in container.demux(container.streams.video[0]):
        if packet.size == 0 or packet.is_corrupt:
            return
        yield packet


def _import_av() -> Any:  # Any: PyAV, which is optional
    try:
        import av
    except ImportError as missing:
        raise UnsupportedError(NEEDS_AV) from missing
    return av
