"""Decode video files and network streams with PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from depth_anything_3.errors import VideoDecodeError, VideoReadError
from depth_anything_3.inputs.choices import Fidelity, OnError
from depth_anything_3.inputs.video.convert import FrameConverter
from depth_anything_3.inputs.video.file_end import is_whole
from depth_anything_3.inputs.video.frame import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.inputs.video.joined_packets import OTHER_STREAM, joined_packets, packets_from, stream_packets
from depth_anything_3.inputs.video.selection import FrameSelection
from depth_anything_3.inputs.video.still_image import has_still_brand
from depth_anything_3.runtime.pyav import import_pyav
from depth_anything_3.runtime.threads import usable_cores

__all__ = ["PyAVSource", "VideoTraits"]

logger = logging.getLogger(__name__)

_MAX_THREADS = 16  # FFmpeg's limit; each thread buffers a frame
_DEFAULT_FPS = 25.0  # of streams with neither timestamps nor a rate
_SEEK_MARGINS = (0.0, 10.0, math.inf)  # seconds before the start to seek to, until a keyframe before it is found
_PIPE_HINT = "pipes are not seekable: give the file itself, or an mp4 written with -movflags faststart"
_MAX_MISSING_SECONDS = 0.5  # by which the last frame may end before the stated duration


class VideoTraits(NamedTuple):
    """The properties of a video that decide its decoder.

    Attributes:
        pixel_format: FFmpeg's name, such as "yuv420p".
        plain: whether frames are upright with square pixels.
        container: FFmpeg's name, such as "mov,mp4,m4a,3gp,3g2,mj2".
        jumps: whether the clock of this kind of container may jump.
    """

    pixel_format: str
    plain: bool
    container: str = ""
    jumps: bool = False


class PyAVSource(FrameSource):
    """Frames of a video file or network stream. Opening it decodes the first frame.

    Times are the container's presentation times. Frames are rotated upright by the display matrix; non-square pixels
    are made square by enlarging one side. Colours follow the video's matrix and range (untagged: BT.601, limited, as in
    FFmpeg), alpha is dropped, and more than 8 bits are rounded. Below fidelity `EXACT`, frames hold the planes of the
    decoder where possible, and are converted when `Frame.image` is used.

    Args:
        source: path or address as FFmpeg accepts it, or a binary file object.
        label: name in messages.
        selection: which frames to return. Reading seeks to the last keyframe before the start.
        on_error: "raise" a `VideoDecodeError` at damage, after all frames before it; or "skip" damaged parts with a
            warning.
        network: whether the source is an address, which fails after `timeout` seconds without data. A stream of unknown
            duration counts as live, and is decoded without frame threads, which would add latency.
        timeout: seconds.
        fidelity: of the network's input.

    Raises:
        UnsupportedError: PyAV is not installed.
        VideoReadError: the file does not exist, is not a video, or has no frames.
    """

    def __init__(
        self,
        source: str | BinaryIO,
        label: str,
        selection: FrameSelection | None = None,
        *,
        on_error: OnError = OnError.RAISE,
        network: bool = False,
        timeout: float = 10.0,
        fidelity: Fidelity = Fidelity.EXACT,
    ) -> None:
        self._fidelity = fidelity
        self._label = label
        self._source, self._network = source, network
        self._selection = selection or FrameSelection()
        self._on_error = on_error
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # held while the container is in use
        self._skipped = self._read_bytes = 0
        self._container = self._open(source, timeout if network else None)
        try:
            self._videos = tuple(range(len(self._container.streams.video)))
            self._stream = self._best_stream()
            live = network and self._container.duration is None
            codec = self._stream.codec_context
            # Frame threads are fastest but each delays one frame, which adds latency to live streams.
            codec.thread_type = "SLICE" if live else "AUTO"
            codec.thread_count = min(usable_cores(), _MAX_THREADS)
            if self._selection.keyframes:
                codec.skip_frame = "NONKEY"
            self._packets = self._read_packets()
            self._decoded = self._decode()
            self._first = self._next()
            if self._first is None:
                raise VideoReadError(f"{label}: no frame of the video can be decoded; is the file complete?")
            self._convert = FrameConverter(self._first, label, self._stream.sample_aspect_ratio)
            self.info = self._info(live, DecoderChoice("pyav", "PyAV decodes on the CPU"))
        except BaseException as error:
            self.close()
            if isinstance(error, VideoReadError) and error.__cause__ is not None and _is_pipe(source):
                raise VideoReadError(f"{error}; {_PIPE_HINT}") from error
            raise

    @property
    def traits(self) -> VideoTraits:
        """Properties for choosing a decoder."""
        name, container = self._first.format.name, self._container.format.name
        return VideoTraits(name, self._convert.plain, container, self._has_jumps)

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames; raise VideoDecodeError at damage, unless `on_error` is "skip"."""
        assert self._first is not None
        origin = self._seconds(self._first, 0)
        index, selector, pending = 0, self._selection.selector(origin), self._seek_first_frame(origin)
        end = origin if pending is not None else origin + (self.info.duration or 0.0)
        while pending is not None:
            frame, pending = pending, None
            seconds = self._seconds(frame, index)
            end = max(end, seconds + _span(frame)[1] - _span(frame)[0])
            if selector.is_past(seconds):
                break
            if selector.selects(seconds):
                planes = None if self._fidelity is Fidelity.EXACT else self._convert.planes(frame)
                data = self._convert(frame) if planes is None else planes
                del frame, planes  # returns the memory of a converted frame to the decoder
                yield Frame(data, seconds, index, time.monotonic())
            index += 1
            pending = self._next()
        if self._skipped:
            logger.warning("%s: damaged; %d part(s) of the video were skipped", self._label, self._skipped)
        stopped = self._stopped.is_set()
        self.close()
        if not stopped:
            selector.check_start(self._label, end)

    def close(self) -> None:
        """Close the file or connection; an iteration in another thread does so at its next packet."""
        self._stopped.set()
        if self._lock.acquire(blocking=False):
            try:
                self._container.close()
            finally:
                self._lock.release()

    def _open(self, source: str | BinaryIO, timeout: float | None) -> Any:  # Any: PyAV is optional
        av = import_pyav()
        self._errors = av.error.FFmpegError
        options = {"rtsp_transport": "tcp"} if isinstance(source, str) and source.startswith("rtsp") else {}
        try:
            container = av.open(source, metadata_errors="ignore", options=options, timeout=timeout)
        except self._errors as error:
            unlike = isinstance(error, (av.error.InvalidDataError, EOFError))
            hint = "; it is not a video, or its end is missing" if unlike else ""
            raise VideoReadError(f"{self._label}: cannot be opened ({error.strerror}){hint}") from error
        if has_still_brand(b"    ftyp" + container.metadata.get("major_brand", "").encode()):
            container.close()
            raise VideoReadError(f"{self._label}: is a still image; give its path, or use da3 image")
        return container

    def _best_stream(self) -> Any:
        """Return the best video stream with a known codec; cover art does not count."""
        from av.stream import Disposition

        videos = [one for one in self._container.streams.video if not one.disposition & Disposition.attached_pic]
        if not videos:
            kinds = ("cover art" if one.type == "video" else one.type for one in self._container.streams)
            others = ", ".join(dict.fromkeys(kinds)) or "nothing"
            raise VideoReadError(f"{self._label}: contains no video ({others} only)")
        videos = [one for one in videos if one.codec_context is not None]
        if not videos:
            raise VideoReadError(
                f"{self._label}: FFmpeg has no decoder for its video; convert it, for example to H.264"
            )
        best = self._container.streams.best("video")
        return best if best in videos else videos[0]

    def _info(self, live: bool, choice: DecoderChoice) -> SourceInfo:
        stream, container = self._stream, self._container
        rate = stream.average_rate or stream.guessed_rate
        fps = float(rate) if rate else None
        duration, tagged = None, self._tagged_end()
        if tagged is not None:
            duration = max(0.0, tagged - self._begin)
        elif stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / 1e6
        return SourceInfo(self._label, choice, self._convert.size_hw, fps, duration, live)

    def _seek_first_frame(self, origin: float) -> Any:
        """Seek to the start and return the first decoded frame, at or before it."""
        start = self._selection.seek_time(origin)
        if start <= origin or self._stopped.is_set():
            return self._first
        found = None
        if self._has_jumps and not self._network:  # a time may exist twice, or not at all, by the file's clock
            self._packets = packets_from(self._packets, start, self._stream.codec_context.flush_buffers)
            return self._first
        for margin in _SEEK_MARGINS:
            target = max(start - margin, origin - 1.0)  # with clocks that begin at 0, this is before the file
            try:
                with self._lock:
                    self._container.seek(round(target / self._stream.time_base), stream=self._stream)
            except self._errors:  # a pipe, or a file that is not seekable
                return self._first
            self._packets = self._read_packets()
            self._decoded = self._decode()
            found = self._next()
            if found is not None and self._seconds(found, 0) <= start:
                return found
        return found

    def _next(self) -> Any:
        with self._lock:
            if not self._stopped.is_set():
                return next(self._decoded, None)
            self._container.close()  # `close` was called while this thread used it
        return None

    def _read_packets(self) -> Iterator[Any]:
        if not self._has_jumps:
            return iter(self._container.demux(self._stream))
        packets = stream_packets(self._container.demux(video=self._videos), self._stream.index, self._label)
        return joined_packets(packets, self._stream.average_rate or self._stream.guessed_rate)

    @property
    def _has_jumps(self) -> bool:
        """Whether the clock of this kind of container may jump, as in transport and program streams."""
        from av.format import Flags

        return bool(self._container.format.flags & Flags.ts_discont.value)

    def _decode(self) -> Iterator[Any]:
        """Yield decoded frames; at damage, raise after the frames before it, or count and skip it."""
        end, packet = 0.0, None
        while True:
            try:
                packet = next(self._packets, None)
                if packet is None:
                    break
                if packet.pos is not None:
                    self._read_bytes = packet.pos + packet.size
                damaged = "data is missing" if packet.is_corrupt else None
                frames = [] if damaged else packet.decode()
            except self._errors as error:
                if isinstance(error, EOFError):
                    break
                damaged, frames = error.strerror, []
                if packet is None or not isinstance(error, ValueError):  # not the data but a connection or disk
                    yield from self._flushed(end)
                    raise VideoReadError(f"{self._label}: reading failed ({damaged}) at {end:.2f} s") from error
            except IndexError as error:  # from PyAV, for a stream that the file did not have when it was opened
                yield from self._flushed(end)
                raise VideoReadError(f"{self._label}: {OTHER_STREAM}") from error
            if packet.size == 0 and self._on_error is OnError.RAISE and self._is_truncated(frames, end):
                frames = self._up_to_gap(frames, end)
            for frame in frames:
                if frame.is_corrupt:
                    damaged = "a frame is damaged"
                    if self._on_error is OnError.RAISE:
                        break
                    continue
                end = max(end, _span(frame)[1])
                yield frame
            if damaged:
                yield from self._damaged(damaged, end)
        if self._skipped:
            yield from self._flushed()  # the final flush may have been interrupted by an error
        self._check_length(end)

    def _damaged(self, how: str, end: float) -> Iterator[Any]:
        self._skipped += 1
        if self._on_error is OnError.SKIP:
            return
        yield from self._flushed(end)
        raise VideoDecodeError(
            f"{self._label}: damaged or truncated after {end:.2f} s ({how}); earlier frames were returned. "
            "Copy it again. To skip the damage, pass on_error='skip'"
        )

    def _flushed(self, end: float = math.inf) -> Iterator[Any]:
        """Yield the frames buffered in the decoder, up to the first gap after `end`."""
        try:
            yield from self._up_to_gap(self._stream.codec_context.decode(None), end)
        except self._errors:
            return

    def _up_to_gap(self, frames: Iterable[Any], end: float) -> Iterator[Any]:
        """Yield the frames that follow `end` without a gap; frames after a gap follow the damage."""
        for frame in frames:
            frame.time_base = self._stream.time_base  # PyAV sets it from a packet, which flushed frames lack
            begin, stop = _span(frame)
            if frame.is_corrupt or begin > end + 0.5 * (stop - begin):
                return
            end = max(end, stop)
            yield frame

    def _is_truncated(self, last: Iterable[Any], end: float) -> bool:
        """Whether the video, including the flushed frames, ends before its stated duration, and bytes are missing."""
        stated, end = self._stated_end(), max([end, *(_span(frame)[1] for frame in last)])
        if stated - end <= _MAX_MISSING_SECONDS:
            return False
        return not self._is_whole((stated - end) / (stated - self._begin))

    def _is_whole(self, missing: float) -> bool:
        """Whether the file is certainly complete, although a share of its stated duration is missing.

        Durations can be wrong, for example Matroska's tags after an edit. A complete file has all bytes that its
        container states, and no room behind its last frame for the missing share.
        """
        length = self._container.size
        if self._network or length <= 0 or length - self._read_bytes > 0.5 * missing * length:
            return False
        try:
            if not isinstance(self._source, str):
                return bool(self._source.seekable() and is_whole(self._source))
            with open(self._source.removeprefix("file:"), "rb") as file:
                return bool(is_whole(file))
        except (OSError, AttributeError, ValueError):  # not a file; or an object without these methods
            return False

    def _stated_end(self) -> float:
        """Return the end time in seconds stated by the header; -inf if there is none."""
        stream = self._stream
        tagged = self._tagged_end()
        if tagged is not None:
            return tagged
        stated = None
        if stream.duration is not None and stream.frames:
            stated = float(stream.duration * stream.time_base)
        return -math.inf if stated is None else self._begin + stated

    def _tagged_end(self) -> float | None:
        """Return the end time by Matroska's tag, at most that of the file; None if there is no tag."""
        tagged = _clock(self._stream.metadata.get("DURATION", ""))
        if tagged is None or self._container.duration is None:
            return tagged
        return min(tagged, float(self._container.duration) / 1e6)

    @property
    def _begin(self) -> float:
        return float((self._stream.start_time or 0) * self._stream.time_base)

    def _check_length(self, end: float) -> None:
        """Detect files that end between packets, before their stated duration."""
        if self._stopped.is_set() or not self._is_truncated((), end):
            return
        stated, begin = self._stated_end(), self._begin
        text = f"{self._label}: ends after {end - begin:.2f} of {stated - begin:.2f} s, so it is truncated"
        if self._on_error is OnError.RAISE:
            raise VideoDecodeError(
                f"{text}; all frames before were returned. Copy it again. To end there without an error, pass "
                "on_error='skip'"
            )
        logger.warning("%s", text)

    def _seconds(self, frame: Any, index: int) -> float:
        """Return a frame's time, computed from the rate for streams without timestamps."""
        if frame.time is not None:
            return float(frame.time)
        rate = self._stream.average_rate or self._stream.guessed_rate
        return index / (float(rate) if rate else _DEFAULT_FPS)


def _span(frame: Any) -> tuple[float, float]:
    """Return a frame's begin and end in seconds."""
    begin = frame.time or 0.0
    return begin, begin + float((frame.duration or 0) * frame.time_base)


def _is_pipe(source: str | BinaryIO) -> bool:
    return not isinstance(source, str) and not (hasattr(source, "seekable") and source.seekable())


def _clock(text: str) -> float | None:
    """Parse "00:01:02.500000000", as in Matroska's tags, to seconds."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
    except ValueError:
        return None
