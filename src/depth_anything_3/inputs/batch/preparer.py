"""Open, decode and resample one image on the CPU.

Imports no torch, so that a worker process starts quickly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from depth_anything_3.errors import DA3Error, ImageSizeError
from depth_anything_3.inputs.batch.batch_memory import SlotOf
from depth_anything_3.inputs.batch.records import ON_CPU, OpenedImage, PreparedImage, UInt8Array
from depth_anything_3.inputs.choices import Exif
from depth_anything_3.inputs.decode.cpu.decode import decode
from depth_anything_3.inputs.decode.cpu.pillow import truncated_allowed
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.image_source import ImageInput, ImageSource, PilImage, as_source, check_bytes, read_file
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.pil_image import read_pil_image
from depth_anything_3.inputs.plan.banded_operator import resample_passes
from depth_anything_3.inputs.plan.resize_plan import Orientation, ResizePlan, plan_resize
from depth_anything_3.inputs.resample.cpu import CompiledPass, Share, compile_passes, resample
from depth_anything_3.inputs.resample.yuv import compile_planes, planes_suffice, resample_planes
from depth_anything_3.inputs.routing.reduced_decode import choose_reduction
from depth_anything_3.inputs.routing.strategy import RoutingDecision
from depth_anything_3.inputs.yuv_planes import YuvPlanes

if TYPE_CHECKING:
    import torch

__all__ = ["ImagePreparer", "ScratchBuffer", "attempt"]

_PLAN_CACHE_SIZE = 64
_LOCKS = 64
_MAX_SCRATCH_BYTES = 150_000_000  # an image of 50 megapixels

_DEFAULTS = PreprocessOptions()

Prepared = TypeVar("Prepared")


class ScratchBuffer(threading.local):
    """Per-thread buffer for one decoded image, reused from image to image.

    The system zeroes new pages when they are first written: 9 % of the time to decode 12-megapixel images on two
    threads. glibc's malloc does not cache blocks of that size.
    """

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def __call__(self, size: int) -> UInt8Array | None:
        """Return at least `size` bytes, valid until the thread's next image; None if that is too large to cache."""
        if size > _MAX_SCRATCH_BYTES:
            return None
        if self._buffer.size < size:
            self._buffer = np.empty(0, np.uint8)  # free the smaller buffer before allocating the larger one
            self._buffer = np.empty(size, np.uint8)
        return self._buffer


class ImagePreparer:
    """Open, decode and resample images; cache the resampling operators per plan.

    A copy sent to a worker process starts with an empty cache.

    Args:
        options: preprocessing options; below fidelity `EXACT`, JPEGs may be decoded at a reduced scale.
        scratch: buffer to decode into; None allocates new memory for each image.
    """

    def __init__(self, options: PreprocessOptions = _DEFAULTS, scratch: ScratchBuffer | None = None) -> None:
        self.options = options
        self._scratch = scratch
        # Pillow decodes lazily and is not thread-safe per image, and a list may hold the same image twice.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._passes = lru_cache(maxsize=_PLAN_CACHE_SIZE)(_compiled_passes)
        self._planes = lru_cache(maxsize=_PLAN_CACHE_SIZE)(compile_planes)
        self._plans = lru_cache(maxsize=_PLAN_CACHE_SIZE)(partial(_plan, options))

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle accepts; caches are not copied
        return ImagePreparer, (self.options,)

    def __call__(
        self, index: int, image: ImageInput, slot_of: SlotOf | None = None, share: Share | None = None
    ) -> PreparedImage:
        """Open one image and finish it on the CPU. Arguments and errors as in `open` and `finish`."""
        return self.finish(self.open(index, image), slot_of=slot_of, share=share)

    def open(self, index: int, image: ImageInput | ImageSource) -> OpenedImage:
        """Read an image's header and plan its resize; `index` is its index in the caller's list.

        Files are read but not decoded, so an unusable image costs almost nothing.

        Raises:
            ImageTypeError: the input is not an image.
            ImageReadError: the file cannot be opened.
            ImageDecodeError: the format is unknown, or the header is damaged.
            ImageSizeError: the image is empty, too large, or too thin for a usable result.
        """
        return self._open(index, image, self._plans)

    def upright(self, index: int, image: ImageInput | ImageSource) -> UInt8Array:
        """Decode one image at full size, and apply its orientation. Errors as in `open` and `decode`.

        Returns:
            (H, W, 3) uint8 RGB, contiguous.
        """
        data = self.decode(self._open(index, image, _unresized))
        assert not isinstance(data.data, (bytes, bytearray, memoryview, YuvPlanes))
        if isinstance(data.data, np.ndarray):
            pixels = np.stack([data.data] * 3, axis=2) if data.data.ndim == 2 else data.data[..., :3]
        else:
            pixels = _on_cpu(data.data).transpose(1, 2, 0)
        return data.plan.orientation.upright(pixels)

    def _open(
        self, index: int, image: ImageInput | ImageSource, plan: Callable[[tuple[int, int], int], ResizePlan]
    ) -> OpenedImage:
        start = time.perf_counter()
        source = as_source(image, index)
        data, header, orientation, exif = source.data, None, 1, b""
        if isinstance(data, DA3Error):
            raise data
        if isinstance(data, Image.Image):
            allowed = truncated_allowed() if self.options.allow_truncated else nullcontext()
            with self._locks[(id(data) >> 4) % len(self._locks)], allowed:
                data = read_pil_image(data, source.label)
        if isinstance(data, PilImage):
            data, orientation, exif = data
            stored_hw = data.shape[0], data.shape[1]
        elif isinstance(data, YuvPlanes):
            stored_hw = data.stored_hw
        elif isinstance(data, np.ndarray):
            stored_hw = data.shape[0], data.shape[1]
        elif isinstance(data, (Path, bytes, bytearray, memoryview)):
            data = read_file(data, self.options.max_bytes) if isinstance(data, Path) else data
            check_bytes(len(data), source.label, self.options.max_bytes)
            header = probe(data, source.label, self.options.max_pixels)
            stored_hw, orientation, exif = header.stored_hw, header.exif_orientation, header.exif
        else:
            stored_hw = data.shape[1], data.shape[2]
        if self.options.exif is Exif.IGNORE:
            orientation = 1
        if isinstance(data, YuvPlanes):  # not by Exif, so always applied
            orientation = data.orientation
        try:
            planned = plan(stored_hw, orientation)
        except ImageSizeError as error:
            raise ImageSizeError(f"{source.label}: {error}") from None
        seconds = time.perf_counter() - start
        opened = OpenedImage(
            index=index,
            label=source.label,
            plan=planned,
            data=data,
            header=header,
            decode_seconds=seconds,
            exif=exif,
            allow_truncated=self.options.allow_truncated,
            ready=source.ready,
        )
        if isinstance(data, YuvPlanes) and not planes_suffice(planned, self.options.fidelity):
            return self.decode(opened)
        return opened

    def decode(self, opened: OpenedImage, scratch: ScratchBuffer | None = None) -> OpenedImage:
        """Decode an encoded file, at full size or at the reduced scale that the fidelity allows; convert planes to RGB.

        Other images are returned unchanged.

        Args:
            opened: the image.
            scratch: buffer to decode into, valid until this thread decodes its next image; None allocates memory.

        Raises:
            ImageDecodeError: the file is truncated or damaged.
            ImageSizeError: the pixels do not fit into memory.
            VideoReadError: the planes cannot be converted.
        """
        if isinstance(opened.data, YuvPlanes):
            return self._converted(opened, opened.data)
        if opened.header is None or not isinstance(opened.data, (bytes, bytearray, memoryview)):
            return opened
        start = time.perf_counter()
        factor = choose_reduction(opened.header, opened.plan, self.options.fidelity)
        rows, columns = (-(-side // factor) for side in opened.header.stored_hw)
        try:
            decoded = decode(
                opened.data,
                opened.header,
                opened.label,
                reduced_by=factor,
                allow_truncated=opened.allow_truncated,
                memory=None if scratch is None or opened.header.jpeg is None else scratch(3 * rows * columns),
            )
        except MemoryError:  # chained, it would keep the partial allocations alive
            height, width = opened.header.stored_hw
            raise ImageSizeError(
                f"{opened.label}: not enough memory to decode {width}x{height} pixels; reduce num_workers, or lower "
                "max_pixels to reject such images"
            ) from None
        if decoded.pixels.shape[:2] == opened.plan.stored_hw:
            factor = 1
        return replace(
            opened,
            data=decoded.pixels,
            header=None,
            warnings=tuple(f"{opened.label}: {one}" for one in decoded.warnings),
            plan=replace(opened.plan, reduced_by=factor),
            decode_seconds=_since(start, opened.decode_seconds),
        )

    def finish(
        self,
        opened: OpenedImage,
        choice: RoutingDecision = ON_CPU,
        *,
        slot_of: SlotOf | None = None,
        share: Share | None = None,
    ) -> PreparedImage:
        """Decode an encoded file and resample on the CPU; planes as they are. Errors as in `decode`.

        Args:
            opened: the image.
            choice: recorded in the result.
            slot_of: memory of the result, which may ask for normalised values too; None: pixels in memory of their own.
            share: runs parts of the resampling on several cores; None: one core.
        """
        decoded = opened if isinstance(opened.data, YuvPlanes) else self.decode(opened, self._scratch)
        start = time.perf_counter()
        slot = None if slot_of is None else slot_of(decoded.index, decoded.plan.result_hw)
        out, normalization = slot or (None, None)
        assert not isinstance(decoded.data, (bytes, bytearray, memoryview))
        if isinstance(decoded.data, YuvPlanes):
            compiled = self._planes(decoded.plan, decoded.data.linear_rows)
            result = resample_planes(decoded.data, compiled, out=out, normalization=normalization, share=share)
        else:
            passes, planar = self._passes(decoded.plan), not isinstance(decoded.data, np.ndarray)
            pixels = decoded.data if isinstance(decoded.data, np.ndarray) else _on_cpu(decoded.data)
            result = resample(pixels, passes, planar=planar, out=out, normalization=normalization, share=share)
        return PreparedImage(
            index=decoded.index,
            label=decoded.label,
            plan=decoded.plan,
            choice=choice,
            decode_seconds=decoded.decode_seconds,
            resample_seconds=_since(start),
            exif=decoded.exif,
            warnings=decoded.warnings,
            pixels=result,
            normalized=None if normalization is None else normalization.values,
        )

    def _converted(self, opened: OpenedImage, planes: YuvPlanes) -> OpenedImage:
        start = time.perf_counter()
        pixels = planes.rgb
        plan = self._plans(planes.upright_hw, 1)
        return replace(opened, data=pixels, plan=plan, decode_seconds=_since(start, opened.decode_seconds))


def _unresized(stored_hw: tuple[int, int], orientation: int) -> ResizePlan:
    return ResizePlan(stored_hw, Orientation.from_exif(orientation), (), None)


def attempt(work: Callable[[int, ImageInput], Prepared], index: int, image: ImageInput) -> Prepared | ImageFailure:
    """Return `work(index, image)`, or an `ImageFailure` if the image is unusable."""
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

        # The caller may still be writing it on any stream of another thread.
        torch.cuda.synchronize(tensor.device)
    return np.asarray(tensor.cpu().numpy(), np.uint8)


def _since(start: float, before: float = 0.0) -> float:
    return before + time.perf_counter() - start


def _plan(options: PreprocessOptions, stored_hw: tuple[int, int], orientation: int) -> ResizePlan:
    return plan_resize(stored_hw, options.bounded_px, options.process_res_method, exif_orientation=orientation)


def _compiled_passes(plan: ResizePlan) -> tuple[CompiledPass, ...]:
    return compile_passes(resample_passes(plan))
