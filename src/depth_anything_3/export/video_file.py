"""Write video files with PyAV.

`VideoWriter` writes a video that can be played even if the process is killed. It writes a part next to the target
(`name.part001.mp4`), one per run if a run is stopped and resumed, as fragments of one frame. `join_parts` joins the
parts without encoding again. `write_mp4` writes a video in one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ExportError, UnsupportedError
from depth_anything_3.runtime.atomic_file import atomic_write
from depth_anything_3.runtime.pyav import import_pyav

__all__ = ["VideoWriter", "frames_in", "join_parts", "part_files", "write_mp4"]

_TICKS_PER_SECOND = 90_000  # of H.264 in MPEG-TS, and a multiple of all common frame rates


class _Codec(NamedTuple):
    """An encoder, its pixel format, and that of the arrays it is given."""

    encoder: str
    pixel_format: str
    array_format: str


_H264 = _Codec("libx264", "yuv420p", "rgb24")
_FFV1 = _Codec("ffv1", "gray16le", "gray16le")

# No lookahead and no B-frames: each frame is in the file when `write` returns, in the order of time.
_PARTS: dict[str, tuple[_Codec, dict[str, str], dict[str, str]]] = {
    ".mp4": (
        _H264,
        {"crf": "18", "preset": "fast", "tune": "zerolatency"},
        {
            # A delayed index (moov) allows a first timestamp other than 0.
            "movflags": "frag_every_frame+empty_moov+default_base_moof+delay_moov",
            "movie_timescale": str(_TICKS_PER_SECOND),
            "flush_packets": "1",
        },
    ),
    ".mkv": (_FFV1, {"level": "3", "slicecrc": "1"}, {"cluster_time_limit": "1", "flush_packets": "1"}),
}
"""Codec, its options and those of the container, by suffix."""


class _Encoder:
    """Encodes frames of one size into a container.

    Raises:
        UnsupportedError: the encoder is not in this build of PyAV.
    """

    def __init__(
        self, av: Any, container: Any, codec: _Codec, rate: Fraction, options: Mapping[str, str]
    ) -> None:  # Any: PyAV's, which is optional
        self._codec = codec
        self._container = container
        self._from_array = av.VideoFrame.from_ndarray
        self._size_hw: tuple[int, int] | None = None
        self.stream = container.add_stream(codec.encoder, rate=rate, options=dict(options))
        self.stream.pix_fmt = codec.pixel_format

    def frame(self, pixels: npt.NDArray[Any]) -> Any:  # Any: uint8 or uint16; PyAV's frame
        """Make a frame; 4:2:0 needs even sizes, so an odd last row or column is repeated."""
        if self._codec is _H264:
            pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
        if self._size_hw is None:
            self._size_hw = self.stream.height, self.stream.width = pixels.shape[:2]
        return self._from_array(np.ascontiguousarray(pixels), format=self._codec.array_format)

    def encode(self, frame: Any = None) -> None:
        """Encode a frame; with None, flush the encoder."""
        self._container.mux(self.stream.encode(frame))


def _check_encoder(av: Any, codec: _Codec, suffix: str) -> None:
    if codec.encoder not in av.codecs_available:
        raise UnsupportedError(
            f"{suffix} files need the encoder {codec.encoder}, which this build of PyAV lacks; install PyAV from its "
            "wheel"
        )


def write_mp4(
    path: Path, frames: Iterable[npt.NDArray[np.uint8]], fps: int, *, crf: int = 18, preset: str = "medium"
) -> None:
    """Write an H.264 video (8 bits, 4:2:0); frames are encoded one by one.

    Args:
        path: of the file.
        frames: at least one; (H, W, 3) uint8 RGB, all of one size. An odd last row or column is repeated.
        fps: frames per second.
        crf: x264's constant rate factor; lower values give better quality and larger files.
        preset: x264's, such as "slow".

    Raises:
        UnsupportedError: PyAV, or its H.264 encoder, is not installed.
        ExportError: the file cannot be written.
    """
    av = import_pyav()
    _check_encoder(av, _H264, ".mp4")
    with atomic_write(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        encoder = _Encoder(av, container, _H264, Fraction(fps), {"crf": str(crf), "preset": preset})
        for frame in frames:
            encoder.encode(encoder.frame(frame))
        encoder.encode()


class VideoWriter:
    """Writes one part of a video; a context manager.

    Args:
        target: the file that the parts will be joined to. `.mp4`: H.264, 8 bits. `.mkv`: FFV1, 16-bit grey, lossless.
        metadata: text entries of the file.

    Raises:
        UnsupportedError: PyAV or the encoder is not installed.
        ExportError: the file cannot be written.
    """

    def __init__(self, target: Path, metadata: Mapping[str, str] | None = None) -> None:
        av = import_pyav()
        codec, options, container_options = _PARTS[target.suffix]
        _check_encoder(av, codec, target.suffix)
        self.path = target.with_suffix(f".part{len(part_files(target)) + 1:03d}{target.suffix}")
        self.frames = 0
        self._last_ticks = -1
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(str(self.path), "w", options=container_options)  # Any: optional
        except OSError as error:
            raise self._export_error(error) from error
        self._container.metadata.update(metadata or {})
        self._encoder = _Encoder(av, self._container, codec, Fraction(30), options)
        self._encoder.stream.codec_context.time_base = Fraction(1, _TICKS_PER_SECOND)

    def write(self, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], seconds: float) -> None:
        """Add a frame.

        Args:
            pixels: (H, W, 3) uint8 RGB for `.mp4`, where an odd last row or column is repeated; (H, W) uint16 for
                `.mkv`. All of one size.
            seconds: from the start of the video; must increase from frame to frame.

        Raises:
            ExportError: the file cannot be written, as when the disk is full.
        """
        frame = self._encoder.frame(pixels)
        frame.time_base = Fraction(1, _TICKS_PER_SECOND)
        frame.pts = self._last_ticks = max(round(seconds * _TICKS_PER_SECOND), self._last_ticks + 1)
        try:
            self._encoder.encode(frame)
        except OSError as error:
            raise self._export_error(error) from error
        self.frames += 1

    def close(self) -> None:
        """Finish the part; remove it if it has no frames.

        Raises:
            ExportError: the file cannot be written.
        """
        try:
            if self.frames:
                self._encoder.encode()
            self._container.close()
        except OSError as error:
            raise self._export_error(error) from error
        if not self.frames:
            self.path.unlink(missing_ok=True)

    def _export_error(self, error: OSError) -> ExportError:
        return ExportError(f"{self.path}: cannot be written ({error.strerror or error})")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def part_files(target: Path) -> list[Path]:
    """List the existing parts of a video, in order."""
    found: list[Path] = []
    while (part := target.with_suffix(f".part{len(found) + 1:03d}{target.suffix}")).exists():
        found.append(part)
    return found


def frames_in(part: Path) -> int:
    """Count the frames that can be read from a part; 0 if the process was killed before the first was written."""
    try:
        with _open_part(import_pyav(), part) as container:
            return sum(1 for _ in _packets(container))
    except ExportError:
        return 0


def join_parts(target: Path) -> None:
    """Join the parts of a video and remove them. Where two parts overlap, the later one is used.

    Raises:
        ExportError: parts differ in size, one cannot be read, or the file cannot be written.
    """
    av, parts = import_pyav(), part_files(target)
    with atomic_write(target) as temporary, ExitStack() as opened:
        options = {"movflags": "faststart", "movie_timescale": str(_TICKS_PER_SECOND)}
        result = opened.enter_context(av.open(str(temporary), "w", options=options if target.suffix == ".mp4" else {}))
        sources = [opened.enter_context(_open_part(av, part)) for part in parts]
        streams = [source.streams.video[0] for source in sources]
        result.metadata.update(
            {key: value for key, value in sources[0].metadata.items() if key.lower().startswith("depth")}
        )
        stream = result.add_stream_from_template(streams[0])
        for part, other in zip(parts, streams, strict=True):
            if bytes(other.codec_context.extradata or b"") != bytes(streams[0].codec_context.extradata or b""):
                raise ExportError(
                    f"{part}: cannot be joined to {parts[0].name}, which has another format; restart without "
                    "resume=True"
                )
        ends = [_first_time(av, part) for part in parts[1:]] + [None]
        for source, end in zip(sources, ends, strict=True):
            for packet in _packets(source):
                if end is not None and packet.pts * packet.time_base >= end:
                    break
                packet.stream = stream
                result.mux(packet)
    for part in parts:
        part.unlink()


def _first_time(av: Any, part: Path) -> Fraction:
    with _open_part(av, part) as container:
        packet = next(_packets(container))
        return Fraction(packet.pts * packet.time_base)


def _open_part(av: Any, part: Path) -> Any:
    try:
        return av.open(str(part))
    except av.error.FFmpegError as error:
        raise ExportError(f"{part}: cannot be read ({error.strerror}); restart without resume=True") from error


def _packets(container: Any) -> Iterator[Any]:
    """Read the complete packets of a part; its end may be missing if the process was killed."""
    for packet in container.demux(container.streams.video[0]):
        if packet.size == 0 or packet.is_corrupt:
            return
        yield packet
