"""Open a video of any kind as a `FrameSource`."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from depth_anything_3.errors import InvalidInputError, VideoReadError
from depth_anything_3.inputs.choices import Fidelity, FidelityName, OnError, OnErrorName, Strategy, StrategyName
from depth_anything_3.inputs.discover import find_images
from depth_anything_3.inputs.file_kind import file_kind
from depth_anything_3.inputs.options import check_names
from depth_anything_3.inputs.routing.strategy import Request
from depth_anything_3.inputs.video.camera import CameraSource
from depth_anything_3.inputs.video.frame import DecoderChoice, Frame, FrameSource
from depth_anything_3.inputs.video.iterable import FrameInput, IterableSource
from depth_anything_3.inputs.video.nvdec import NvdecSource, nvdec_unsupported_reason
from depth_anything_3.inputs.video.pyav import PyAVSource
from depth_anything_3.inputs.video.raw import RawSource
from depth_anything_3.inputs.video.selection import FrameSelection, SelectionKwargs
from depth_anything_3.inputs.video.still_image import HEAD_BYTES, has_still_brand, is_animated_webp, is_still_image

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

__all__ = ["VideoInput", "open_source"]

VideoInput = Union[str, int, "os.PathLike[str]", bytes, BinaryIO, Iterable[FrameInput], FrameSource]
"""The accepted types of a video."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+]+://", re.IGNORECASE)
_CAMERA = re.compile(r"\d+|/dev/video\d+")
_NUMBERED = re.compile(r"%0?\d*d")
_WILDCARDS = re.compile(r"[*?]")
_TEXT_SUFFIXES = (".txt", ".csv", ".json", ".md", ".log", ".nfo", ".html", ".htm", ".svg", ".xml")


def open_source(
    source: VideoInput,
    *,
    raw: str | None = None,
    on_error: OnError | OnErrorName = OnError.RAISE,
    strategy: Strategy | StrategyName = Strategy.AUTO,
    device: torch.device | None = None,
    fidelity: Fidelity | FidelityName = Fidelity.EXACT,
    **selection: Unpack[SelectionKwargs],
) -> FrameSource:
    """Open a video of any kind.

    Args:
        source: one of these.

            - A video file: a path, its bytes, or a binary file object; "-" is standard input. The path of an image is
              a video of one frame.
            - An image sequence: a folder or a pattern with `*` or `?`, sorted by name, numbers in it by value (1, 2,
              10); or a numbered name (`frame_%05d.png`), sorted by number; missing numbers leave a gap in time.
            - A camera: its index, as an int or a string, or `/dev/video0`.
            - An address: `rtsp://`, `http://`, `udp://` or any other that FFmpeg supports.
            - Any iterable of uint8 arrays, tensors, image paths or `Frame`s.
            - A `FrameSource`, which is returned unchanged.
        raw: layout of raw frames from a file object or "-", such as "640x480:rgb24@30": width, height, pixel format
            (rgb24, bgr24, gray, yuv420p) and rate.
        on_error: "raise" at damage, after all frames before it; or "skip" damaged parts.
        strategy: "auto" and "gpu_decode" decode on a CUDA `device` if supported; the others decode on the CPU.
        device: the network's device.
        fidelity: "high" and "fast" leave 8-bit 4:2:0 frames that PyAV decodes as they are, to be converted to RGB after
            the resize; `Frame.image` converts them when it is used.
        selection: which frames to return, see `FrameSelection`. Sources without timestamps (image sequences, arrays,
            raw frames) have the rate `fps`, 24 by default.

    Raises:
        InvalidInputError: an argument is not accepted.
        VideoReadError: the file, camera or stream does not exist, or has no frames. Iteration raises it if all frames
            are before `start`.
    """
    if isinstance(source, FrameSource):
        return source
    failing, request = OnError(on_error), Request.of(strategy, fidelity)
    check_names(selection, caller=open_source, keywords=SelectionKwargs)
    chosen = FrameSelection(**selection)
    fps = chosen.fps
    if _has_no_clock(source, raw):
        chosen = replace(chosen, fps=None)
    elif chosen.fps is not None and chosen.every is not None:
        raise InvalidInputError(f"fps={chosen.fps:g} and every={chosen.every} both select frames; give one of them")
    if raw is not None:
        file = sys.stdin.buffer if source == "-" else source
        if not hasattr(file, "read"):
            raise InvalidInputError(f"raw={raw!r} requires standard input (-) or a binary file")
        return RawSource(file, raw, chosen, rate=fps, on_error=failing)  # type: ignore[arg-type]
    if isinstance(source, bytes):
        return PyAVSource(
            io.BytesIO(source), f"video ({len(source):,} bytes)", chosen, on_error=failing, fidelity=request.fidelity
        )
    if isinstance(source, bool) or not isinstance(source, (str, int, os.PathLike)):
        return _open_object(source, chosen, fps, failing, request.fidelity)
    name = str(source) if isinstance(source, int) else os.fsdecode(source)
    if name == "-":
        return PyAVSource(sys.stdin.buffer, "standard input", chosen, on_error=failing, fidelity=request.fidelity)
    if _CAMERA.fullmatch(name) and not (isinstance(source, str) and os.path.isfile(name)):
        return CameraSource(name, chosen)
    if _ADDRESS.match(name):
        return PyAVSource(name, name, chosen, on_error=failing, network=True, fidelity=request.fidelity)
    if os.path.isdir(name) or _is_pattern(name):
        return _sequence(name, chosen, fps)
    return _open_file(name, chosen, failing, request, device)


def _has_no_clock(source: VideoInput, raw: str | None) -> bool:
    """Whether `fps` is the source's own rate instead of a frame selection."""
    if raw is not None:
        return True
    if isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        return os.path.isdir(name) or (_is_pattern(name) and not _ADDRESS.match(name))
    return not isinstance(source, (int, bytes)) and not hasattr(source, "read")


def _is_pattern(name: str) -> bool:
    return bool(_NUMBERED.search(name) or _WILDCARDS.search(name)) and not os.path.lexists(name)


def _open_object(
    source: Any, selection: FrameSelection, fps: float | None, on_error: OnError, fidelity: Fidelity
) -> FrameSource:
    if hasattr(source, "read"):
        label = str(getattr(source, "name", "video file object"))
        return PyAVSource(source, label, selection, on_error=on_error, fidelity=fidelity)
    if isinstance(source, bool) or hasattr(source, "dtype") or not isinstance(source, Iterable):
        raise InvalidInputError(
            "give a video: a path, address, camera index, binary file, or an iterable of frames; "
            "for one array of frames (N, H, W, 3), give list(array)"
        )
    return IterableSource(source, selection, fps=fps)


def _open_file(
    name: str, selection: FrameSelection, on_error: OnError, request: Request, device: torch.device | None
) -> FrameSource:
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid file name"
        raise VideoReadError(f"{name}: cannot be opened ({reason})") from error
    if stat.S_ISREG(mode) and os.path.getsize(name) == 0:
        raise VideoReadError(f"{name}: the file is empty")
    head = _head(name) if stat.S_ISREG(mode) else b""
    if has_still_brand(head):
        return _still_image(name, selection)
    if is_animated_webp(head):
        raise VideoReadError(
            f"{name}: FFmpeg does not decode animated WebP; convert it to GIF, APNG or a folder of images"
        )
    _check_kind(name, head)
    source = PyAVSource(f"file:{name}", name, selection, on_error=on_error, fidelity=request.fidelity)
    if is_still_image(name, source.traits.container):
        source.close()
        return _still_image(name, selection)
    strategy = request.strategy
    gpu_allowed = strategy in (Strategy.AUTO, Strategy.GPU_DECODE)
    unsupported_reason = (
        nvdec_unsupported_reason(source.traits, device)
        if gpu_allowed
        else f"strategy '{strategy.value}' decodes on the CPU"
    )
    if unsupported_reason is None:
        try:
            decoded = NvdecSource(name, selection, source.info, device, on_error=on_error)
        except VideoReadError as error:
            unsupported_reason = f"torchcodec cannot decode it ({error})"
        else:
            source.close()
            return decoded
    source.info = replace(source.info, decoder=DecoderChoice("pyav", unsupported_reason))
    return source


def _check_kind(name: str, head: bytes) -> None:
    """Refuse documents and archives. FFmpeg would draw a text as a video of a terminal."""
    kind = file_kind(head)
    if kind is None or kind.is_video:
        return
    if not kind.is_text or Path(name).suffix.lower() in _TEXT_SUFFIXES:  # playlists are text too
        raise VideoReadError(f"{name}: not a video but {kind.name}{f'; {kind.hint}' if kind.hint else ''}")


def _natural_key(path: Path) -> tuple[list[list[str | int]], str]:
    """Return a sort key by which runs of digits compare as numbers (1, 2, 10), and equal ones by name (01, 1)."""
    # Text and numbers alternate, so that neither is compared with the other.
    pieces = (enumerate(re.split("([0-9]+)", part)) for part in path.parts)
    return [[int(piece) if index % 2 else piece for index, piece in part] for part in pieces], str(path)


def _head(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise VideoReadError(f"{name}: cannot be opened ({error.strerror})") from error


def _still_image(name: str, selection: FrameSelection) -> IterableSource:
    """Open an image as a sequence of one, so that it is decoded and oriented like any image."""
    choice = DecoderChoice("images", "a still image is decoded by the input pipeline")
    return IterableSource([Path(name)], selection, label=name, decoder=choice)


def _sequence(name: str, selection: FrameSelection, fps: float | None) -> IterableSource:
    choice = DecoderChoice("images", "image files are decoded by the input pipeline")
    numbered = None if os.path.isdir(name) else _NUMBERED.search(Path(name).name)
    if numbered is None:
        paths = sorted(find_images([name]), key=_natural_key)
        return IterableSource(paths, selection, fps=fps, label=name, decoder=choice)
    folder, pattern = Path(name).parent, Path(name).name
    before, after = pattern[: numbered.start()], pattern[numbered.end() :]
    number = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    if not folder.is_dir():
        raise VideoReadError(f"{name}: no such folder {folder}")
    found = sorted((int(match[1]), match[0]) for one in os.listdir(folder) if (match := number.fullmatch(one)))
    if not found:
        raise VideoReadError(f"{name}: no files match this name")
    rate = IterableSource([], fps=fps).info.fps or 1.0
    # Times follow the numbers, so that a missing frame leaves a gap.
    frames = [Frame(folder / file, (place - found[0][0]) / rate, 0, 0.0) for place, file in found]
    return IterableSource(frames, selection, fps=fps, label=name, decoder=choice)
