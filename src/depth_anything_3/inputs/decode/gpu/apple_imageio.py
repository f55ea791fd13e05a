"""Decode JPEG files with macOS's ImageIO and upload them to an Apple GPU.

ImageIO decodes at a reduced size where that is enough, which is faster. Written from Apple's documentation and tested
against a stand-in; not yet run on a Mac.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.header import Buffer, ImageHeader, JpegProcess
from depth_anything_3.runtime.packages import package_version

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "ImageIODecoder", "find"]

NAME = "imageio"
_MAX_THREADS = 8  # each holds a full-size image


def find(device_type: str) -> DecoderTraits:
    """Describe the installed decoder without importing it.

    Raises:
        UnsupportedError: it is not installed.
    """
    version = package_version("Quartz", extra="macos", distributions=("pyobjc-framework-Quartz",))
    processes = frozenset({JpegProcess.BASELINE, JpegProcess.PROGRESSIVE})
    return DecoderTraits(NAME, version, exact=False, processes=processes)


class ImageIODecoder:
    """A `GPUDecoder` on ImageIO, which decodes several files in parallel outside the interpreter lock.

    Args:
        device: device to upload to, such as "mps".

    Raises:
        UnsupportedError: PyObjC's Quartz is missing.
    """

    def __init__(self, device: torch.device) -> None:
        self._traits = find(device.type)
        self._device = device
        try:
            import objc
            import Quartz
        except ImportError as error:
            raise UnsupportedError(f"Quartz cannot be loaded: {error}") from error
        self._quartz, self._objc = Quartz, objc
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS), thread_name_prefix="da3-imageio")

    @property
    def traits(self) -> DecoderTraits:
        """The decoder's description."""
        return self._traits

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch, at a reduced size where `min_hw` allows it. See `GPUDecoder.decode`."""
        import torch

        decoded = self._pool.map(self._decode_one, files, headers, min_hw)
        return [
            # Repeat grey and drop the padding as views, after the upload.
            one if isinstance(one, str) else torch.from_numpy(one).to(self._device)[..., :3].expand(-1, -1, 3)
            for one in decoded
        ]

    def close(self) -> None:
        """End the decoder's threads."""
        self._pool.shutdown()

    def _decode_one(
        self, data: Buffer, header: ImageHeader, min_hw: tuple[int, int] | None
    ) -> npt.NDArray[np.uint8] | str:
        try:
            return self._pixels(data, header.stored_hw, min_hw)
        except (TypeError, ValueError, self._objc.error) as error:  # how PyObjC reports a failed call
            return f"{NAME}: {error}"

    def _pixels(
        self, data: Buffer, stored_hw: tuple[int, int], min_hw: tuple[int, int] | None
    ) -> npt.NDArray[np.uint8] | str:
        """Return (H, W, 4) pixels whose last channel is padding, or (H, W, 1) for a grey image."""
        with self._objc.autorelease_pool():  # our threads have none, so ImageIO's objects would leak
            source = self._quartz.CGImageSourceCreateWithData(bytes(data), None)
            if source is None:
                return f"{NAME} cannot read the file"
            length = _thumbnail_length(stored_hw, min_hw)
            if length is None:
                image = self._quartz.CGImageSourceCreateImageAtIndex(source, 0, None)
            else:
                image = self._thumbnail(source, length)
            if image is None:
                return f"{NAME} cannot decode the file"
            pixels = self._draw(image)
        if pixels is None:
            return f"{NAME} cannot draw the image into memory"
        height, width = pixels.shape[:2]
        minimum = stored_hw if length is None or min_hw is None else min_hw
        fits = all(low <= side <= full for low, side, full in zip(minimum, (height, width), stored_hw, strict=True))
        # Reject another aspect ratio: it would be resampled as if it covered the same field of view.
        same_shape = abs(height * stored_hw[1] - width * stored_hw[0]) <= max(stored_hw)
        if not (fits and same_shape):
            return f"{NAME} returned {width}x{height} pixels, but {minimum[1]}x{minimum[0]} are needed"
        return pixels

    def _thumbnail(self, source: Any, length: int) -> Any:
        """Decode an image with its longer side reduced to `length`, unrotated; None if ImageIO fails."""
        quartz = self._quartz
        options = {
            quartz.kCGImageSourceCreateThumbnailFromImageAlways: True,  # never the preview that the camera stored
            quartz.kCGImageSourceCreateThumbnailWithTransform: False,
            quartz.kCGImageSourceThumbnailMaxPixelSize: length,
        }
        return quartz.CGImageSourceCreateThumbnailAtIndex(source, 0, options)

    def _draw(self, image: Any) -> npt.NDArray[np.uint8] | None:
        """Draw an image into a bitmap of its own colour space and return the samples.

        In any other colour space Core Graphics would convert the colours, which no other decoder of this package does.
        """
        quartz = self._quartz
        height, width = quartz.CGImageGetHeight(image), quartz.CGImageGetWidth(image)
        space = quartz.CGImageGetColorSpace(image)
        model = None if space is None else quartz.CGColorSpaceGetModel(space)
        if model == quartz.kCGColorSpaceModelMonochrome:
            channels, layout = 1, quartz.kCGImageAlphaNone
        else:
            channels, layout = 4, quartz.kCGImageAlphaNoneSkipLast | quartz.kCGBitmapByteOrder32Big
            if model != quartz.kCGColorSpaceModelRGB:
                space = quartz.CGColorSpaceCreateDeviceRGB()
        memory = np.empty(height * width * channels, np.uint8)
        context = quartz.CGBitmapContextCreate(memory, width, height, 8, width * channels, space, layout)
        if context is None:  # some profiles are read-only
            return None
        quartz.CGContextDrawImage(context, quartz.CGRectMake(0, 0, width, height), image)
        return memory.reshape(height, width, channels)


def _thumbnail_length(stored_hw: tuple[int, int], min_hw: tuple[int, int] | None) -> int | None:
    """Return the longer side of the smallest reduced image whose sides both reach `min_hw`; None for full size."""
    if min_hw is None:
        return None
    (short, min_short), (long, min_long) = sorted(zip(stored_hw, min_hw, strict=True))
    # Rounded up, so that the shorter side reaches its minimum even if ImageIO rounds it down.
    length = max(min_long, -(-min_short * long // short))
    return length if length < long else None
