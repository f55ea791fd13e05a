"""Open, decode and resample one image on the CPU.

Imports no torch, so that a worker process starts quickly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from depth_anything_3.errors import DA3Error, ImageSizeError
from depth_anything_3.inputs.batch.records import ON_CPU, OpenedImage, PreparedImage, UInt8Array
from depth_anything_3.inputs.choices import Exif
from depth_anything_3.inputs.decode.cpu.decode import decode
from depth_anything_3.inputs.decode.cpu.pillow import pixels_of, truncated_allowed
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.header import probe, read_orientation
from depth_anything_3.inputs.image_source import ImageInput, as_source, check_bytes, read_file
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.plan.banded_operator import resample_passes
from depth_anything_3.inputs.plan.resize_plan import ResizePlan, plan_resize
from depth_anything_3.inputs.resample.cpu import CompiledPass, compile_passes, resample
from depth_anything_3.inputs.routing.reduced_decode import choose_reduction
from depth_anything_3.inputs.routing.strategy import Choice

if TYPE_CHECKING:
    import torch

__all__ = ["ImagePreparer", "ScratchBuffer", "attempt"]

_PLAN_CACHE_SIZE = 64
_LOCKS = 64
_MAX_SCRATCH_BYTES = 150_000_000  # bytes: a picture of 50 megapixels

_DEFAULTS = PreprocessOptions()

Prepared = TypeVar("Prepared")


class ScratchBuffer(threading.local):
    """Memory for one decoded picture in each thread that prepares them, kept from picture to picture.

    New pages from the system are zeroed one by one, when they are first written: 9 % of decoding pictures of 12
    megapixels on two threads. glibc's malloc would keep no block of that size.
    """

    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint8)

    def __call__(self, size: int) -> UInt8Array | None:
        """At least `size` bytes, overwritten by the thread's next picture; None for a picture too large to be kept."""
        if size > _MAX_SCRATCH_BYTES:
            return None
        if self._kept.size < size:
            self._kept = np.empty(0, np.uint8)  # the smaller one is gone before the larger one is there
            self._kept = np.empty(size, np.uint8)
        return self._kept


class ImagePreparer:
    """Turns sources into images of the network's size; caches the resampling operators of the sizes it has seen.

    A copy sent to a worker process starts with an empty cache.

    Args:
        options: how to prepare; below fidelity `EXACT`, JPEGs may be decoded at a fraction of their size.
        kept: memory to decode into; without it, new memory for each image.
    """

    def __init__(self, options: PreprocessOptions = _DEFAULTS, kept: ScratchBuffer | None = None) -> None:
        self.options = options
        self._kept = kept
        # Pillow decodes on first use and is not made for two threads at one image, which a list may hold twice.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._passes = lru_cache(maxsize=_PLAN_CACHE_SIZE)(_compiled_passes)

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle takes; caches stay behind
        return ImagePreparer, (self.options,)

    def __call__(self, index: int, image: ImageInput) -> PreparedImage:
        """Open one image and finish it on the CPU; raises what these raise."""
        return self.finish(self.open(index, image))

    def open(self, index: int, image: ImageInput) -> OpenedImage:
        """Tell what an image is and plan its way; `index` is its place in the caller's list.

        Files are read but not decoded, so a picture that cannot be used costs next to nothing.

        Raises:
            ImageTypeError: not an image.
            ImageReadError: the file cannot be opened.
            ImageDecodeError: it is not a picture of a known format, or its header is damaged.
            ImageSizeError: empty, too large, or too thin for a usable result.
        """
        began = time.perf_counter()
        source = as_source(image, index)
        data, header, orientation, exif = source.data, None, 1, b""
        if isinstance(data, Image.Image):
            block = data.info.get("exif")
            exif = block if isinstance(block, bytes) else b""
            allowed = truncated_allowed() if self.options.allow_truncated else nullcontext()
            with self._locks[(id(data) >> 4) % len(self._locks)], allowed:
                pixels = pixels_of(data, source.label)
            if data.format != "TIFF":  # those Pillow turns by itself
                orientation = read_orientation(exif)
            data, stored_hw = pixels, (pixels.shape[0], pixels.shape[1])
        elif isinstance(data, np.ndarray):
            stored_hw = data.shape[0], data.shape[1]
        elif isinstance(data, (Path, bytes, bytearray, memoryview)):
            data = read_file(data, self.options.max_bytes) if isinstance(data, Path) else data
            check_bytes(len(data), source.label, self.options.max_bytes)
            header = probe(data, source.label, self.options.max_pixels)
            stored_hw, orientation, exif = header.stored_hw, header.exif_orientation, header.exif
        else:
            stored_hw = data.shape[1], data.shape[2]
        plan = self._plan(stored_hw, orientation, source.label)
        seconds = time.perf_counter() - began
        return OpenedImage(
            index=index,
            label=source.label,
            plan=plan,
            data=data,
            header=header,
            decode_seconds=seconds,
            exif=exif,
            allow_truncated=self.options.allow_truncated,
        )

    def decode(self, opened: OpenedImage, kept: ScratchBuffer | None = None) -> OpenedImage:
        """The same picture with its pixels, if it was an encoded file: at full size, or what the fidelity allows.

        Args:
            opened: the picture.
            kept: where the pixels may lie until this thread decodes the next one; otherwise they are the caller's.

        Raises:
            ImageDecodeError: it is not a whole, readable picture.
            ImageSizeError: it does not fit into memory.
        """
        if opened.header is None or not isinstance(opened.data, (bytes, bytearray, memoryview)):
            return opened
        began = time.perf_counter()
        factor = choose_reduction(opened.header, opened.plan, self.options.fidelity)
        rows, columns = (-(-side // factor) for side in opened.header.stored_hw)
        try:
            pixels = decode(
                opened.data,
                opened.header,
                opened.label,
                reduced_by=factor,
                allow_truncated=opened.allow_truncated,
                memory=None if kept is None or opened.header.jpeg is None else kept(3 * rows * columns),
            )
        except MemoryError:  # its cause holds what was taken so far
            height, width = opened.header.stored_hw
            raise ImageSizeError(
                f"{opened.label}: no memory left to decode its {width}x{height} pixels; prepare fewer images at a time "
                "(num_workers), or lower max_pixels to leave such out"
            ) from None
        if pixels.shape[:2] == opened.plan.stored_hw:
            factor = 1
        return replace(
            opened,
            data=pixels,
            header=None,
            plan=replace(opened.plan, reduced_by=factor),
            decode_seconds=_since(began, opened.decode_seconds),
        )

    def finish(self, opened: OpenedImage, choice: Choice = ON_CPU) -> PreparedImage:
        """Decode, if it is a file, and resample on the CPU.

        Raises:
            ImageDecodeError: it is not a whole, readable picture.
        """
        decoded = self.decode(opened, self._kept)
        began = time.perf_counter()
        passes = self._passes(decoded.plan)
        if isinstance(decoded.data, np.ndarray):
            result = resample(decoded.data, passes)
        else:
            assert not isinstance(decoded.data, (bytes, bytearray, memoryview))
            result = resample(_on_cpu(decoded.data), passes, planar=True)
        return PreparedImage(
            index=decoded.index,
            label=decoded.label,
            plan=decoded.plan,
            choice=choice,
            decode_seconds=decoded.decode_seconds,
            resample_seconds=_since(began),
            exif=decoded.exif,
            pixels=result,
        )

    def _plan(self, stored_hw: tuple[int, int], orientation: int, label: str) -> ResizePlan:
        if self.options.exif is Exif.IGNORE:
            orientation = 1
        try:
            return plan_resize(
                stored_hw,
                self.options.process_res,
                self.options.process_res_method,
                exif_orientation=orientation,
            )
        except ImageSizeError as error:
            raise ImageSizeError(f"{label}: {error}") from None


def attempt(work: Callable[[int, ImageInput], Prepared], index: int, image: ImageInput) -> Prepared | ImageFailure:
    """`work(index, image)`, but an image that cannot be used is returned as an `ImageFailure`."""
    try:
        return work(index, image)
    except DA3Error as error:
        return ImageFailure(index, _label(image, index), error)


def _label(image: ImageInput, index: int) -> str:
    try:
        return as_source(image, index).label
    except DA3Error:
        return f"image {index}"


def _on_cpu(tensor: torch.Tensor) -> UInt8Array:
    if tensor.is_cuda:
        import torch

        # The caller may have queued what writes it on any stream, and this is another thread.
        torch.cuda.synchronize(tensor.device)
    return np.asarray(tensor.cpu().numpy(), np.uint8)


def _since(began: float, before: float = 0.0) -> float:
    return before + time.perf_counter() - began


def _compiled_passes(plan: ResizePlan) -> tuple[CompiledPass, ...]:
    return compile_passes(resample_passes(plan))
