"""Video files and network streams in, frames in the CPU's memory out, by PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from depth_anything_3.errors import VideoDecodeError, VideoReadError
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.video.convert import FrameConverter
from depth_anything_3.inputs.video.frame import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.inputs.video.selection import FrameSelection
from depth_anything_3.runtime.pyav import import_pyav
from depth_anything_3.runtime.threads import usable_cores

__all__ = ["PyAVSource", "VideoTraits"]

logger = logging.getLogger(__name__)

_MAX_THREADS = 16  # FFmpeg's own limit; each holds a frame
_DEFAULT_FPS = 25.0  # of streams that tell neither times nor rate
_EARLIER = (0.0, 10.0, math.inf)  # seconds before the wished start that a seek goes, until it lands before it
_PIPE = "there is no going back in a pipe: give the file itself, or of an mp4 one made with -movflags faststart"
_SHORT = 0.5  # seconds that the last frame may end before the length a file states


class VideoTraits(NamedTuple):
    """What matters of a video when its decoder is chosen.

    Attributes:
        pixel_format: FFmpeg's name, such as "yuv420p".
        plain: upright frames of square pixels, which need no turning.
    """

    pixel_format: str
    plain: bool


class PyAVSource(FrameSource):
    """Frames of a video file, or of a stream from the network. Opening it decodes the first frame.

    Times are the container's own, those that PyAV gives. Frames are turned upright by the display matrix; pixels that
    are not square become so, enlarged along one side. Colours follow the video's matrix and range (untagged: BT.601,
    limited, as FFmpeg has it), alpha is dropped, more than 8 bits are rounded.

    Args:
        source: a path or address as FFmpeg takes it, or a binary file object.
        label: how messages name it.
        selection: which frames to take. A start is sought from the last keyframe before it.
        on_error: "raise" a `VideoDecodeError` where the video is damaged, when all frames before it were given; or
            "skip" what is damaged, with a warning.
        network: it is an address. Given up after `timeout` seconds of silence; without a length it counts as live,
            and is decoded without the delay that many threads bring.
        timeout: seconds.

    Raises:
        UnsupportedError: PyAV is not installed.
        VideoReadError: there is no such file, it is no video, or has no frames.
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
    ) -> None:
        self._label = label
        self._selection = selection or FrameSelection()
        self._on_error = on_error
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # held while the container is used
        self._skipped = 0
        self._container = self._open(source, timeout if network else None)
        try:
            self._stream = self._best_stream()
            live = network and self._container.duration is None
            codec = self._stream.codec_context
            # Frame threads decode fastest but hold a frame each back, which a live picture must not wait for.
            codec.thread_type = "SLICE" if live else "AUTO"
            codec.thread_count = min(usable_cores(), _MAX_THREADS)
            if self._selection.keyframes:
                codec.skip_frame = "NONKEY"
            self._decoded = self._decode()
            self._first = self._next()
            if self._first is None:
                raise VideoReadError(f"{label}: no frame of the video can be decoded; is the file whole?")
            self._convert = FrameConverter(self._first, label, self._stream.sample_aspect_ratio)
            self.info = self._info(live, DecoderChoice("pyav", "PyAV decodes on the CPU"))
        except BaseException as error:
            self.close()
            if isinstance(error, VideoReadError) and error.__cause__ is not None and _is_pipe(source):
                raise VideoReadError(f"{error}; {_PIPE}") from error
            raise

    @property
    def traits(self) -> VideoTraits:
        """What decides on the decoder."""
        return VideoTraits(self._first.format.name, self._convert.plain)

    def __iter__(self) -> Iterator[Frame]:
        """Raises VideoDecodeError where the video is damaged, unless that is skipped."""
        assert self._first is not None
        origin = self._seconds(self._first, 0)
        index, selector, pending = 0, self._selection.begin(origin), self._sought(origin)
        while pending is not None:
            picture, pending = pending, None
            seconds = self._seconds(picture, index)
            if selector.is_past(seconds):
                break
            if selector.takes(seconds):
                image = self._convert(picture)
                del picture  # its memory goes back to the decoder while the receiver is at work
                yield Frame(image, seconds, index, time.monotonic())
            index += 1
            pending = self._next()
        if self._skipped:
            logger.warning("%s: damaged; %d part(s) of the video were skipped", self._label, self._skipped)
        self.close()

    def close(self) -> None:
        """Close the file or connection; an iteration under way in another thread does it, at its next packet."""
        self._stopped.set()
        if self._lock.acquire(blocking=False):
            try:
                self._container.close()
            finally:
                self._lock.release()

    def _open(self, source: str | BinaryIO, timeout: float | None) -> Any:  # Any: PyAV's, which is optional
        av = import_pyav()
        self._errors = av.error.FFmpegError
        options = {"rtsp_transport": "tcp"} if isinstance(source, str) and source.startswith("rtsp") else {}
        try:
            return av.open(source, metadata_errors="ignore", options=options, timeout=timeout)
        except self._errors as error:
            unlike = isinstance(error, (av.error.InvalidDataError, EOFError))
            hint = "; it is no video, or its end is missing" if unlike else ""
            raise VideoReadError(f"{self._label}: cannot be opened ({error.strerror}){hint}") from error

    def _best_stream(self) -> Any:
        """The video stream; pictures of a record's cover are none, and one of no codec that is known is of no use."""
        from av.stream import Disposition

        videos = [one for one in self._container.streams.video if not one.disposition & Disposition.attached_pic]
        if not videos:
            others = ", ".join(one.type for one in self._container.streams) or "nothing"
            raise VideoReadError(f"{self._label}: holds no video ({others} only)")
        videos = [one for one in videos if one.codec_context is not None]
        if not videos:
            raise VideoReadError(f"{self._label}: FFmpeg knows no decoder for its video; convert it, to H.264 say")
        best = self._container.streams.best("video")
        return best if best in videos else videos[0]

    def _info(self, live: bool, choice: DecoderChoice) -> SourceInfo:
        stream, container = self._stream, self._container
        rate = stream.average_rate or stream.guessed_rate
        fps = float(rate) if rate else None
        duration = None
        if stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / 1e6
        return SourceInfo(self._label, choice, self._convert.size_hw, fps, duration, live)

    def _sought(self, origin: float) -> Any:
        """The first frame from where reading begins: at or before the wished start."""
        start = self._selection.sought(origin)
        if start <= origin or self._stopped.is_set():
            return self._first
        found = None
        for earlier in _EARLIER:
            target = max(start - earlier, origin - 1.0)  # where clocks begin at 0, that is before the file
            try:
                with self._lock:
                    self._container.seek(round(target / self._stream.time_base), stream=self._stream)
            except self._errors:  # a pipe, or a file without a way to find places in
                return self._first
            self._decoded = self._decode()
            found = self._next()
            if found is not None and self._seconds(found, 0) <= start:
                return found
        return found

    def _next(self) -> Any:
        with self._lock:
            if not self._stopped.is_set():
                return next(self._decoded, None)
            self._container.close()  # `close` came while this thread was in it
        return None

    def _decode(self) -> Iterator[Any]:
        """Frames as they come; what is damaged raises, after the frames before it, or is counted and passed over."""
        end, packet = 0.0, None
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                damaged = "a part is missing" if packet.is_corrupt else None
                frames = [] if damaged else packet.decode()
            except self._errors as error:
                if isinstance(error, EOFError):
                    break
                damaged, frames = error.strerror, []
                if packet is None or not isinstance(error, ValueError):  # not the data: a connection, a disk
                    yield from self._flushed(end)
                    raise VideoReadError(f"{self._label}: reading broke off ({damaged}) at {end:.2f} s") from error
            if packet.size == 0 and self._on_error is OnError.RAISE and self._is_cut(frames, end):
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
            yield from self._flushed()  # the end of the packets, given to the decoder, may have met its error
        self._check_length(end)

    def _damaged(self, how: str, end: float) -> Iterator[Any]:
        self._skipped += 1
        if self._on_error is OnError.SKIP:
            return
        yield from self._flushed(end)
        raise VideoDecodeError(
            f"{self._label}: damaged or cut off after {end:.2f} s ({how}); what came before was delivered. "
            "Copy the file again, or pass on_error='skip' to go on behind the damage"
        )

    def _flushed(self, end: float = math.inf) -> Iterator[Any]:
        """What the decoder still holds, up to the first gap after `end`."""
        try:
            yield from self._up_to_gap(self._stream.codec_context.decode(None), end)
        except self._errors:
            return

    def _up_to_gap(self, frames: Iterable[Any], end: float) -> Iterator[Any]:
        """Those of the last frames that follow `end` without a gap: behind one are frames after the damage."""
        for frame in frames:
            frame.time_base = self._stream.time_base  # PyAV takes it from a packet, which the last frames lack
            begin, stop = _span(frame)
            if frame.is_corrupt or begin > end + 0.5 * (stop - begin):
                return
            end = max(end, stop)
            yield frame

    def _is_cut(self, last: Iterable[Any], end: float) -> bool:
        """Whether the video ends, with the last frames of the decoder, before the length it states."""
        return self._stated_end() - max([end, *(_span(frame)[1] for frame in last)]) > _SHORT

    def _stated_end(self) -> float:
        """When the video ends by its header, in seconds; -inf if that tells nothing."""
        stream = self._stream
        stated = _clock(stream.metadata.get("DURATION", ""))
        if stated is None and stream.duration is not None and stream.frames:
            stated = float(stream.duration * stream.time_base)
        return -math.inf if stated is None else self._begin + stated

    @property
    def _begin(self) -> float:
        return float((self._stream.start_time or 0) * self._stream.time_base)

    def _check_length(self, end: float) -> None:
        """Notice files that end at a packet's end before the length they state."""
        if self._stopped.is_set() or not self._is_cut((), end):
            return
        stated, begin = self._stated_end(), self._begin
        text = f"{self._label}: ends after {end - begin:.2f} of {stated - begin:.2f} s, so its end is missing"
        if self._on_error is OnError.RAISE:
            raise VideoDecodeError(f"{text}; what is there was delivered. Copy it again, or pass on_error='skip'")
        logger.warning("%s", text)

    def _seconds(self, frame: Any, index: int) -> float:
        """A frame's time; of streams without times by the rate."""
        if frame.time is not None:
            return float(frame.time)
        rate = self._stream.average_rate or self._stream.guessed_rate
        return index / (float(rate) if rate else _DEFAULT_FPS)


def _span(frame: Any) -> tuple[float, float]:
    """When a frame begins and ends, in seconds."""
    begin = frame.time or 0.0
    return begin, begin + float((frame.duration or 0) * frame.time_base)


def _is_pipe(source: str | BinaryIO) -> bool:
    return not isinstance(source, str) and not (hasattr(source, "seekable") and source.seekable())


def _clock(text: str) -> float | None:
    """Seconds of "00:01:02.500000000", as Matroska's tags have them."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
    except ValueError:
        return None
