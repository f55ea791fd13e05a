"""Say how the samples of a TIFF page are stored, and why a page cannot be decoded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from depth_anything_3.inputs.decode.cpu.tiff_codecs import CODECS
from depth_anything_3.inputs.tiff_pages import Tag, TiffPage

__all__ = ["JPEG", "Photometric", "TiffLayout", "unsupported_reason"]

JPEG = 7
_COMPRESSIONS = {
    2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "old-style JPEG", JPEG: "JPEG", 34_712: "JPEG 2000", 33_003: "JPEG 2000",
    33_005: "JPEG 2000", 34_887: "LERC", 34_892: "lossy JPEG", 34_925: "LZMA", 34_933: "PNG", 34_934: "JPEG XR",
    22_610: "JPEG XR", 50_000: "Zstandard", 50_001: "WebP", 50_002: "JPEG XL", 52_546: "JPEG XL",
}  # fmt: skip
_BY_PILLOW = frozenset({2, 3, 4, 6, JPEG, 34_925, 50_000})
_HINT = "export it as a TIFF of 8 or 16 bits without compression, as PNG or as JPEG"
_MIN_TILE_PIXELS = 1 << 20
_MAX_SAMPLES = 16  # per pixel, which bounds the memory for a strip


_NEEDED = (Tag.WIDTH, Tag.HEIGHT, Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.FILL_ORDER, Tag.STRIP_OFFSETS,
           Tag.SAMPLES, Tag.ROWS_PER_STRIP, Tag.PLANES, Tag.PREDICTOR, Tag.TILE_WIDTH, Tag.TILE_HEIGHT,
           Tag.TILE_OFFSETS, Tag.EXTRA_SAMPLES, Tag.SAMPLE_FORMAT)  # fmt: skip


class Photometric(IntEnum):
    """What the samples of a page mean."""

    WHITE_IS_ZERO = 0
    BLACK_IS_ZERO = 1
    RGB = 2
    PALETTE = 3
    SEPARATED = 5
    YCBCR = 6
    CIELAB = 8


_COLOURS = {Photometric.WHITE_IS_ZERO: 1, Photometric.BLACK_IS_ZERO: 1, Photometric.RGB: 3, Photometric.PALETTE: 1,
            Photometric.SEPARATED: 4, Photometric.YCBCR: 3, Photometric.CIELAB: 3}  # fmt: skip


@dataclass(frozen=True)
class TiffLayout:
    """The storage of a page.

    Attributes:
        hw: (height, width) as stored.
        bits: bits per sample.
        samples: samples per pixel.
        colours: how many of them are colour; the rest is alpha, or unknown.
        photometric: what they mean.
        premultiplied: whether the sample after the colours is alpha that they are multiplied by.
        compression: its number in the TIFF standard.
        planar: whether each sample has a plane of its own.
        block_hw: (height, width) of a tile, or of a strip.
        tiled: whether the page is stored in tiles.
        by_pillow: whether Pillow decodes it, and not this package.
    """

    hw: tuple[int, int]
    bits: int
    samples: int
    colours: int
    photometric: Photometric
    premultiplied: bool
    compression: int
    planar: bool
    block_hw: tuple[int, int]
    tiled: bool
    by_pillow: bool

    @classmethod
    def of(cls, page: TiffPage) -> TiffLayout:
        """Read the layout of a page for which there is no `unsupported_reason`."""
        height, width = page.size_hw
        samples, bits = page.value(Tag.SAMPLES, 1), page.value(Tag.BITS, 1)
        photometric = _photometric(page)
        compression = page.value(Tag.COMPRESSION, 1)
        tiled = Tag.TILE_WIDTH in page.entries
        rows = min(page.value(Tag.ROWS_PER_STRIP, height) or height, height)
        tile_hw = page.value(Tag.TILE_HEIGHT, 0), page.value(Tag.TILE_WIDTH, 0)
        colours = _COLOURS[photometric]
        of_jpeg = {1: (Photometric.BLACK_IS_ZERO, Photometric.WHITE_IS_ZERO), 3: (Photometric.RGB, Photometric.YCBCR)}
        jpeg = compression == JPEG and bits == 8 and photometric in of_jpeg.get(samples, ())
        ours = compression in CODECS and photometric not in (Photometric.YCBCR, Photometric.CIELAB)
        return cls(
            hw=(height, width),
            bits=bits,
            samples=samples,
            colours=colours,
            photometric=photometric,
            premultiplied=samples > colours and page.value(Tag.EXTRA_SAMPLES, 0) == 1,
            compression=compression,
            planar=page.value(Tag.PLANES, 1) == 2 and samples > 1,
            block_hw=tile_hw if tiled else (rows, width),
            tiled=tiled,
            by_pillow=not (ours or jpeg),
        )

    @property
    def kept(self) -> int:
        """How many samples per pixel are decoded: the colours, and alpha that they are multiplied by."""
        return self.colours + int(self.premultiplied)

    @property
    def blocks(self) -> tuple[int, int]:
        """(down, across) number of tiles or strips of a plane."""
        return -(-self.hw[0] // self.block_hw[0]), -(-self.hw[1] // self.block_hw[1])


def unsupported_reason(page: TiffPage) -> str | None:
    """Return why a page cannot be decoded, with a hint, or None."""
    if any(page.is_damaged(tag) for tag in _NEEDED):
        return "damaged TIFF: its directory holds values of wrong types"
    if not all(page.size_hw):
        return "damaged TIFF: it states no size"
    bits = {int(one) for one in page.values(Tag.BITS)} or {1}
    kinds = {int(one) for one in page.values(Tag.SAMPLE_FORMAT)}
    compression = page.value(Tag.COMPRESSION, 1)
    number = page.value(Tag.PHOTOMETRIC, -1)
    if kinds & {3, 6}:
        return f"floating-point samples have no fixed range; scale the image to 8 or 16 bits first, or {_HINT}"
    if kinds & {2, 5}:
        return f"signed {max(bits)}-bit samples have no fixed range; scale the image to 8 or 16 bits first"
    if number >= 0 and number not in list(Photometric):
        return f"TIFF with colours of kind {number} (PhotometricInterpretation) is not supported; {_HINT}"
    if compression not in CODECS | _BY_PILLOW:
        name = _COMPRESSIONS.get(compression, f"kind {compression}")
        return f"TIFF with {name} compression is not supported; {_HINT}"
    if len(bits) > 1 or not (0 < max(bits) <= 16 or max(bits) == 32):
        return f"TIFF with {', '.join(map(str, sorted(bits)))} bits per sample is not supported; {_HINT}"
    layout = TiffLayout.of(page)
    if layout.samples < layout.colours:
        return f"damaged TIFF: {layout.samples} samples per pixel, but its colours have {layout.colours}"
    if layout.samples > _MAX_SAMPLES:
        return f"TIFF with {layout.samples} samples per pixel is not supported, at most {_MAX_SAMPLES} are; {_HINT}"
    if layout.photometric is Photometric.SEPARATED and page.value(Tag.INK_SET, 1) != 1:
        return f"TIFF with inks other than CMYK is not supported; {_HINT}"
    if layout.by_pillow and layout.bits not in (1, 8):
        name = _COMPRESSIONS.get(compression, layout.photometric.name)
        return f"TIFF of {layout.bits} bits per sample with {name} is not supported; {_HINT}"
    if not layout.by_pillow and page.value(Tag.PREDICTOR, 1) not in (1, 2):
        return f"TIFF with predictor {page.value(Tag.PREDICTOR, 1)} is not supported; {_HINT}"
    if not layout.by_pillow and page.value(Tag.PREDICTOR, 1) == 2 and layout.bits not in (8, 16, 32):
        return f"TIFF of {layout.bits} bits per sample with a predictor is not supported; {_HINT}"
    high, wide = layout.block_hw
    if not (high and wide) or high * wide > 4 * max(_MIN_TILE_PIXELS, layout.hw[0] * layout.hw[1]):
        return f"damaged TIFF: tiles of {wide}x{high}"
    return None


def _photometric(page: TiffPage) -> Photometric:
    number = page.value(Tag.PHOTOMETRIC, -1)
    if number < 0:  # missing, although the standard requires it
        return Photometric.RGB if page.value(Tag.SAMPLES, 1) >= 3 else Photometric.BLACK_IS_ZERO
    return Photometric(number)
