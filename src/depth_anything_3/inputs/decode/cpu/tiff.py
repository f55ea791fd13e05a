"""Decode TIFFs of any number of bits, in strips, tiles and planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.decode.cpu import pillow
from depth_anything_3.inputs.decode.cpu.decoded import Decoded
from depth_anything_3.inputs.decode.cpu.samples import as_rgb, to_8_bits
from depth_anything_3.inputs.decode.cpu.simplejpeg import warning_of
from depth_anything_3.inputs.decode.cpu.tiff_codecs import DamagedStripError, expand, is_predicted, unpack_samples
from depth_anything_3.inputs.decode.cpu.tiff_layout import JPEG, Photometric, TiffLayout, unsupported_reason
from depth_anything_3.inputs.header import Buffer
from depth_anything_3.inputs.tiff_pages import Tag, TiffPage, starting_at, tiff_image_page

__all__ = ["decode", "decode_page"]

UInt8Array = npt.NDArray[np.uint8]

_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
"""Adobe's marker in a JPEG, without its last byte: 0 for RGB, 1 for YCbCr."""


def decode(data: Buffer, label: str, *, allow_truncated: bool = False) -> Decoded:
    """Decode the page of a file that `tiff_image_page` selects; see `decode_page`."""
    return decode_page(tiff_image_page(data, label), label, allow_truncated=allow_truncated)


def decode_page(page: TiffPage, label: str, *, allow_truncated: bool = False) -> Decoded:
    """Decode a page as stored, without its orientation.

    Unsigned samples are scaled by their range, whatever their number of bits. Premultiplied colours are divided by
    their alpha. Pillow decodes CCITT, Zstandard and LZMA compression, CIELab, and YCbCr without JPEG.

    Args:
        page: the page.
        label: name of the image in errors.
        allow_truncated: leave truncated and damaged strips black, with a warning.

    Raises:
        ImageDecodeError: the file is truncated or damaged, or has no samples of a known range, or its compression or
            colours are not supported.
    """
    reason = unsupported_reason(page)
    if reason is not None:
        raise ImageDecodeError(f"{label}: {reason}")
    layout = TiffLayout.of(page)
    if layout.by_pillow:
        return pillow.decode(starting_at(page), label, allow_truncated=allow_truncated)
    reader = _BlockReader(page, layout)
    stored = reader.read()
    if reader.failed and not allow_truncated:
        raise ImageDecodeError(f"{label}: {reader.failed} TIFF. {pillow.HINT}")
    if reader.failed:
        reader.warnings.append(f"{reader.failed} TIFF; decoded as far as possible")
    return Decoded(as_rgb(_colours(stored, page, layout)), tuple(reader.warnings))


class _BlockReader:
    """Reads the strips or tiles of a page.

    Attributes:
        failed: "truncated" or "damaged" if a block is, else empty.
        warnings: what the JPEG decoder warned of.
    """

    def __init__(self, page: TiffPage, layout: TiffLayout) -> None:
        self._page = page
        self._layout = layout
        self._file = np.frombuffer(page.data, np.uint8)
        tiled = layout.tiled
        self._offsets = page.values(Tag.TILE_OFFSETS if tiled else Tag.STRIP_OFFSETS)
        self._counts = page.values(Tag.TILE_COUNTS if tiled else Tag.STRIP_COUNTS)
        self._tables = page.values(Tag.JPEG_TABLES).tobytes()
        self._reversed = page.value(Tag.FILL_ORDER, 1) == 2
        self._predicted = page.value(Tag.PREDICTOR, 1) == 2 and is_predicted(layout.compression)
        self.failed = ""
        self.warnings: list[str] = []

    def read(self) -> npt.NDArray[Any]:  # Any: 8 bits, or the indices of a palette
        """Return (H, W, kept samples): 8 bits, or indices of a palette; blocks that cannot be read are left 0."""
        layout = self._layout
        (height, width), (high, wide), (down, across) = layout.hw, layout.block_hw, layout.blocks
        indexed = layout.photometric is Photometric.PALETTE
        planes = layout.kept if layout.planar else 1
        if self._offsets.size < down * across * planes:
            self.failed = "truncated"
        pixels = np.zeros((height, width, layout.kept), np.uint16 if indexed else np.uint8)
        for index in range(min(down * across * planes, self._offsets.size)):
            plane, place = divmod(index, down * across)
            top, left = place // across * high, place % across * wide
            rows = high if layout.tiled else min(high, height - top)
            try:
                block = self._block(index, rows)
            except DamagedStripError as error:
                self.failed = self.failed or str(error)
                continue
            target = pixels[top : top + rows, left : left + wide]
            block = block[: target.shape[0], : target.shape[1], : layout.kept]
            if layout.planar:
                target = target[..., plane : plane + 1]
            target[:] = block if indexed else to_8_bits(block, (1 << layout.bits) - 1)
        return pixels

    def _block(self, index: int, rows: int) -> npt.NDArray[Any]:
        """Return (rows, columns, samples) of a strip or tile."""
        layout = self._layout
        channels, columns = 1 if layout.planar else layout.samples, layout.block_hw[1]
        row_size = -(-columns * channels * layout.bits // 8)
        size = rows * row_size
        start = int(self._offsets[index])
        # Sizes of blocks without compression are often wrong, and not needed.
        known = index < self._counts.size and layout.compression != 1
        data = self._file[start : start + (int(self._counts[index]) if known else size)]
        if layout.compression == JPEG:
            return self._jpeg(data, (rows, columns, channels))
        limit = layout.block_hw[0] * row_size
        found = expand(data, layout.compression, size, limit, reversed_bits=self._reversed)
        if found.size < size:
            self.failed = self.failed or "truncated"
            padded = np.zeros(size, np.uint8)
            whole = found.size // row_size * row_size
            padded[:whole] = found[:whole]
            found = padded
        return unpack_samples(
            found, (rows, columns, channels), layout.bits, self._page.order, predicted=self._predicted
        )

    def _jpeg(self, data: UInt8Array, shape: tuple[int, int, int]) -> UInt8Array:
        rows, columns, channels = shape
        adobe = b"" if channels == 1 else _ADOBE + bytes([self._layout.photometric is Photometric.YCBCR])
        tables = self._tables[2:-2] if len(self._tables) > 4 else b""
        file = b"\xff\xd8" + adobe + tables + data[2:].tobytes()
        for strict in (True, False):
            try:
                pixels = simplejpeg.decode_jpeg(file, "RGB" if channels == 3 else "GRAY", strict=strict)
            except (ValueError, RuntimeError) as error:
                found = warning_of(error)
                if not found:
                    raise DamagedStripError("truncated" if "Premature end" in str(error) else "damaged") from None
                self.warnings = self.warnings or [f"TIFF with a {one}" for one in found]
            else:
                if pixels.shape[0] < rows or pixels.shape[1] < columns:
                    break
                return np.asarray(pixels[:rows, :columns], np.uint8)
        raise DamagedStripError("damaged")


def _colours(stored: npt.NDArray[Any], page: TiffPage, layout: TiffLayout) -> UInt8Array:
    """Return (H, W) grey or (H, W, 3) RGB of the samples as stored."""
    if layout.photometric is Photometric.PALETTE:
        table = page.values(Tag.COLOUR_MAP)
        table = np.resize(table, (3, max(1, table.size // 3))).T
        # Most writers store 8-bit colours as their upper byte, some as they are.
        table = (table >> 8 if table.max(initial=0) > 255 else table).astype(np.uint8)
        return np.asarray(table[np.minimum(stored[..., 0], len(table) - 1)], np.uint8)
    if layout.premultiplied:
        alpha = np.maximum(stored[..., -1:].astype(np.uint16), 1)
        stored = np.minimum((stored[..., :-1].astype(np.uint16) * 255 + alpha // 2) // alpha, 255).astype(np.uint8)
    if layout.photometric is Photometric.SEPARATED:
        return np.asarray(Image.frombytes("CMYK", layout.hw[::-1], np.ascontiguousarray(stored)).convert("RGB"))
    if layout.photometric is Photometric.WHITE_IS_ZERO:
        stored = 255 - stored
    return np.asarray(stored, np.uint8)
