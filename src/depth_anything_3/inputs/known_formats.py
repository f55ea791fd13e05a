"""Name the formats that are recognised, but not decoded."""

from __future__ import annotations

import re

__all__ = ["CAMERA_RAW", "raw_format", "unknown_format"]

CAMERA_RAW = "camera raw ({}) is not decoded; export it as TIFF or JPEG, or use its embedded JPEG preview"

_RAW = (
    ("Canon CR2", re.compile(rb"II\*\x00.{4}CR\x02", re.DOTALL)),
    ("Canon CRW", re.compile(rb"II.{4}HEAPCCDR", re.DOTALL)),
    ("Canon CR3", re.compile(rb".{4}ftypcrx ", re.DOTALL)),
    ("Olympus ORF", re.compile(rb"IIR[OS]|MMOR")),
    ("Panasonic RW2", re.compile(rb"IIU\x00")),
    ("Fujifilm RAF", re.compile(rb"FUJIFILMCCD-RAW")),
    ("Sigma X3F", re.compile(rb"FOVb")),
    ("Minolta MRW", re.compile(rb"\x00MRM")),
    ("Phase One IIQ", re.compile(rb"(?:II|MM).{6}(?:IIII|MMMM)", re.DOTALL)),
)
_OTHERS = (
    ("JPEG XL", re.compile(rb"\xff\x0a|\x00{3}\x0cJXL ")),
    ("JPEG XR", re.compile(rb"II\xbc")),
    ("Photoshop document", re.compile(rb"8BPS")),
    ("OpenEXR", re.compile(rb"v/1\x01")),
    ("Radiance HDR", re.compile(rb"#\?(?:RADIANCE|RGBE)")),
    ("PFM (floating-point) image", re.compile(rb"PF\s")),
    ("PAM image", re.compile(rb"P7\s")),
    ("Apple icon (ICNS)", re.compile(rb"icns")),
    ("DirectDraw texture (DDS)", re.compile(rb"DDS ")),
    ("FITS image", re.compile(rb"SIMPLE  =")),
    ("DICOM image", re.compile(rb".{128}DICM", re.DOTALL)),
    ("GIMP image (XCF)", re.compile(rb"gimp xcf")),
    ("PCX image", re.compile(rb"\x0a[\x00-\x05]\x01[\x01\x02\x04\x08]")),
    ("SVG drawing", re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg", re.DOTALL)),
    ("web page", re.compile(rb"\s*<(?:!doctype\s+)?html", re.IGNORECASE)),
    ("PDF document", re.compile(rb"%PDF-")),
    ("PostScript document", re.compile(rb"%!PS")),
    ("ZIP archive", re.compile(rb"PK\x03\x04")),
    ("NumPy array", re.compile(rb"\x93NUMPY")),
    ("video", re.compile(rb".{4}ftyp(?:isom|iso[2-9]|mp4|avc1|qt  |M4V|3g)|\x1aE\xdf\xa3|RIFF.{4}AVI ", re.DOTALL)),
)
_HINTS = {"video": "use stream_video, or da3 video"}


def raw_format(data: bytes | bytearray | memoryview) -> str | None:
    """Return the name of a camera's raw format that the first bytes tell, or None."""
    start = bytes(data[:32])
    return next((name for name, pattern in _RAW if pattern.match(start)), None)


def unknown_format(data: bytes | bytearray | memoryview) -> str:
    """Say what a file is that no decoder accepts, by its first bytes, and what to do."""
    start = bytes(data[:256])
    raw = raw_format(start)
    if raw is not None:
        return CAMERA_RAW.format(raw)
    name = next((name for name, pattern in _OTHERS if pattern.match(start)), None)
    if name is not None:
        return f"{name}, which is not an image of a supported format; {_HINTS.get(name, 'convert it to PNG or JPEG')}"
    if start.startswith(b"\xff\xd8"):
        return f"truncated or damaged JPEG: its header is not complete in {len(data):,} bytes"
    return f"not an image of a known format (it starts with {start[:12]!r})"
