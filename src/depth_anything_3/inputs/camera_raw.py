"""Recognise camera raw files, which are not decoded."""

from __future__ import annotations

import re

__all__ = ["CAMERA_RAW", "raw_format"]

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


def raw_format(data: bytes | bytearray | memoryview) -> str | None:
    """Return the name of a camera's raw format that the first bytes tell, or None."""
    start = bytes(data[:32])
    return next((name for name, pattern in _RAW if pattern.match(start)), None)
