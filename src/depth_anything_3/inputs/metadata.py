"""Find the Exif block and the XMP packet in JPEG, PNG, JPEG 2000 and TIFF files, and in what Pillow read."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from depth_anything_3.inputs.exif import (
    LENS_TAGS,
    ORIENTATION,
    TIFF_EP,
    Metadata,
    as_orientation,
    read_orientation,
    write_block,
)
from depth_anything_3.inputs.pillow_open import Buffer

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "info_metadata",
    "jpeg2000_metadata",
    "jpeg_metadata",
    "orientation_in_format",
    "png_metadata",
    "tiff_metadata",
]

_EXIF_SIGN = b"Exif\0\0"
_XMP_SIGN = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION_SIGN = b"http://ns.adobe.com/xmp/extension/\0"
_EXTENSION_GUID = re.compile(rb"""HasExtendedXMP\s*(?:=\s*["']|>)\s*([0-9A-Fa-f]{32})""")
_MAX_EXTENSION = 1 << 22  # bytes

_XMP_KEYS = ("XML:com.adobe.xmp", "xmp")  # the second of WebP, TIFF and AVIF
_PROFILE_KEYS = ("Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp")
_PROFILE = re.compile(rb"\s*\w+\s+\d+\s+([0-9A-Fa-f\s]*)")  # its kind, its length, its bytes
_MAX_CHUNKS = 200_000  # as for OpenCV, see decode/cpu/opencv.py
_MAX_TEXT = 1 << 20  # bytes; Pillow has the same limit

_JPEG2000_EXIF = b"JpgTiffExif->JP2"
_JPEG2000_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_MAX_BOXES = 10_000


def jpeg_metadata(segments: Sequence[Buffer]) -> Metadata:
    """Find both among the APP1 segments of a JPEG, given without marker and length.

    A second Exif segment continues the first, and of several XMP packets the last counts, as in Pillow. Extended XMP is
    read only if the orientation is not in the Exif block.
    """
    exif = [bytes(one) for one in segments if bytes(one[:6]) == _EXIF_SIGN]
    packets = [one for one in segments if bytes(one[: len(_XMP_SIGN)]) == _XMP_SIGN]
    block = exif[0] + b"".join(one[6:] for one in exif[1:]) if exif else b""
    xmp = bytes(packets[-1][len(_XMP_SIGN) :]) if packets else b""
    guid = _EXTENSION_GUID.search(xmp)
    if guid and read_orientation(block) is None:
        start = _EXTENSION_SIGN + guid[1]
        pieces = [(bytes(one[71:75]), bytes(one[75:])) for one in segments if bytes(one[: len(start)]) == start]
        xmp += b"".join(piece for _, piece in sorted(pieces))[:_MAX_EXTENSION]
    return Metadata(block, xmp)


def png_metadata(data: Buffer) -> Metadata:
    """Find both in a PNG: in chunks of their own or in text chunks, before or after the pixels.

    Of several of a kind the last counts, as in Pillow.
    """
    view, at = memoryview(data), 8
    found: dict[str, tuple[bytes, memoryview]] = {}
    for _ in range(_MAX_CHUNKS):
        kind = bytes(view[at + 4 : at + 8])
        if len(kind) < 4 or kind == b"IEND":
            break
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if kind == b"eXIf":
            found["exif"] = kind, view[at + 8 : end]
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = bytes(view[at + 8 : min(end, at + 88)]).partition(b"\0")[0].decode("latin-1")
            if keyword in (*_PROFILE_KEYS, *_XMP_KEYS) or (keyword, kind) == ("exif", b"tEXt"):
                found[keyword] = kind, view[at + 9 + len(keyword) : end]
        at = end + 4
    return info_metadata({key: _text(*one) for key, one in found.items()})


def _text(kind: bytes, content: memoryview) -> bytes:
    """Return the text of a chunk, without its keyword, up to the limit; empty if it is damaged."""
    packed, method = kind == b"zTXt", content[:1]
    if packed:
        content = content[1:]
    elif kind == b"iTXt":
        packed, method = bytes(content[:1]) != b"\0", content[1:2]
        parts = bytes(content[2:]).split(b"\0", 2)  # language, translated keyword, text
        content = memoryview(parts[2] if len(parts) == 3 else b"")
    if not packed:
        return bytes(content)
    if bytes(method) != b"\0":
        return b""
    try:
        return zlib.decompressobj().decompress(content, _MAX_TEXT)
    except zlib.error:
        return b""


def info_metadata(info: Mapping[Any, object]) -> Metadata:
    """Find both in the `info` of a PIL image: what Pillow read, and the text chunks of a PNG."""
    exif, *packets = (_as_bytes(info.get(key)) for key in ("exif", *_XMP_KEYS))
    xmp = next((one for one in packets if one), b"")
    for key in _PROFILE_KEYS:
        profile = _PROFILE.match(_as_bytes(info.get(key)))
        content = b"" if profile is None else _from_hex(profile[1])
        if content.startswith(_XMP_SIGN) or key.endswith("xmp"):
            xmp = xmp or content.removeprefix(_XMP_SIGN)
        else:
            exif = exif or content
    return Metadata(exif, xmp)


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return value if isinstance(value, bytes) else b""


def _from_hex(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode())
    except ValueError:  # an odd number of digits
        return b""


def jpeg2000_metadata(data: Buffer) -> Metadata:
    """Find both in the boxes of a JP2 file, where ExifTool and Exiv2 write them."""
    view, at = memoryview(data), 0
    found: dict[bytes, bytes] = {}
    for _ in range(_MAX_BOXES):
        kind, length, head = bytes(view[at + 4 : at + 8]), int.from_bytes(view[at : at + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(view[at + 8 : at + 16], "big"), 16
        end = len(view) if length == 0 else at + length
        if len(kind) < 4 or end < at + head:
            break
        if kind == b"uuid":
            found.setdefault(bytes(view[at + head : at + head + 16]), bytes(view[at + head + 16 : end]))
        at = end
    return Metadata(found.get(_JPEG2000_EXIF, b""), found.get(_JPEG2000_XMP, b""))


def tiff_metadata(image: Image.Image) -> Metadata:
    """Find both in a TIFF's directory, which is its Exif block; a block with the orientation and the lens is written.

    Args:
        image: as Pillow opened it. Once it is loaded, Pillow has applied the orientation and removed it.
    """
    try:
        tags = getattr(image, "tag_v2", {})
        orientation = as_orientation(tags.get(ORIENTATION))
        values = {TIFF_EP.get(tag, tag): tags.get(tag) for tag in (*LENS_TAGS, *TIFF_EP) if tag in tags}
        values |= image.getexif().get_ifd(0x8769)
    except Exception:  # Pillow raises almost anything on damaged directories
        return Metadata()
    lens = {tag: number for tag in LENS_TAGS if (number := _as_number(values.get(tag))) is not None}
    return Metadata(write_block(orientation, lens), _as_bytes(image.info.get("xmp")))


def orientation_in_format(name: str | None, metadata: Metadata) -> int:
    """Return the orientation of the decoded pixels of a format, by Pillow's name for it; 1 to 8.

    In HEIC and AVIF, rotation and mirroring belong to the container and EXIF does not count. The HEIC decoder has
    applied them; Pillow's AVIF plugin has written them into the EXIF block.
    """
    if name == "HEIF":
        return 1
    return (read_orientation(metadata.exif) or 1) if name == "AVIF" else metadata.orientation


def _as_number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]  # a rational, a number, or anything else
    except (TypeError, ValueError, ZeroDivisionError):
        return None
