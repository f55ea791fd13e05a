"""Name files that are no supported images by their first bytes, for messages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from depth_anything_3.inputs.camera_raw import raw_format

__all__ = ["ADDRESS", "FileKind", "file_kind"]

ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://|(?P<cut>https?|ftps?|s3|gs|rtsp|file):/")
"""The start of an address, with both slashes, or with the one that a `Path` leaves."""

_HEAD = 1024  # bytes


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        name: with its article, such as "a PDF document".
        is_video: whether it is a video.
        is_text: whether it is text.
        hint: what to do; may be empty.
    """

    name: str
    is_video: bool = False
    is_text: bool = False
    hint: str = ""


def _video(name: str) -> FileKind:
    return FileKind(f"a video ({name})", is_video=True, hint="use `stream_video()`")


def _image(name: str) -> FileKind:
    return FileKind(name, hint="convert it to PNG or JPEG")


_ARCHIVE_HINT = "extract the images first"

_SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"%PDF", FileKind("a PDF document", hint="export its pages as images first")),
    (0, b"\x93NUMPY", FileKind("a NumPy array (.npy)", hint="pass the array itself, uint8 RGB")),
    (0, b"\x1f\x8b", FileKind("a gzip archive", hint=_ARCHIVE_HINT)),
    (4, b"1AY&SY", FileKind("a bzip2 archive", hint=_ARCHIVE_HINT)),
    (0, b"\xfd7zXZ\0", FileKind("an xz archive", hint=_ARCHIVE_HINT)),
    (0, b"(\xb5/\xfd", FileKind("a Zstandard archive", hint=_ARCHIVE_HINT)),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", hint=_ARCHIVE_HINT)),
    (0, b"Rar!\x1a\x07", FileKind("a RAR archive", hint=_ARCHIVE_HINT)),
    (257, b"ustar", FileKind("a tar archive", hint=_ARCHIVE_HINT)),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind("a Microsoft Office document")),
    (0, b"\x7fELF", FileKind("a program")),
    (0, b"MZ\x90\0", FileKind("a Windows program")),
    (0, b"SQLite format 3\0", FileKind("an SQLite database")),
    (0, b"glTF\x02\0\0\0", FileKind("a 3D model (glb)")),
    (0, b"ply\n", FileKind("a 3D model (ply)")),
    (0, b"ply\r", FileKind("a 3D model (ply)")),
    (0, b"\0\x05\x16\x07", FileKind("macOS metadata of another file (AppleDouble)", hint="give that file")),
    (0, b"version https://git-lfs", FileKind("a Git LFS pointer", is_text=True, hint="run `git lfs pull` first")),
    (0, b"\x89HDF\r\n\x1a\n", FileKind("an HDF5 file")),
    (0, b"\x76\x2f\x31\x01", _image("an OpenEXR image")),
    (0, b"#?RADIANCE", _image("a Radiance HDR image")),
    (0, b"#?RGBE", _image("a Radiance HDR image")),
    (0, b"8BPS", _image("a Photoshop document")),
    (0, b"%!PS", _image("a PostScript document")),
    (0, b"gimp xcf", _image("a GIMP document")),
    (0, b"\xff\x0a", _image("a JPEG XL image")),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", _image("a JPEG XL image")),
    (0, b"DDS |\0\0\0", _image("a DDS texture")),
    (0, b"\xabKTX ", _image("a KTX texture")),
    (0, b"SIMPLE  =", _image("a FITS image")),
    (128, b"DICM", _image("a DICOM image")),
    (0, b"PF\n", _image("a floating-point PFM image")),
    (0, b"Pf\n", _image("a floating-point PFM image")),
    (0, b"II\xbc\x01", _image("a JPEG XR image")),
    (0, b"P7\n", _image("a PAM image")),
    (0, b"icns", _image("an Apple icon (ICNS)")),
    (0, b"\x0a\x05\x01\x08", _image("a PCX image")),
    (0, b"\x1a\x45\xdf\xa3", _video("Matroska or WebM")),
    (0, b"\0\0\x01\xba", _video("MPEG")),
    (0, b"\0\0\x01\xb3", _video("MPEG")),
    (0, b"FLV\x01", _video("FLV")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _video("Windows Media")),
    (0, b"YUV4MPEG2", _video("Y4M")),
    (4, b"moov", _video("QuickTime")),
    (4, b"mdat", _video("QuickTime")),
    (4, b"wide", _video("QuickTime")),
    (0, b"OggS", FileKind("an Ogg file (sound or video)", is_video=True, hint="use `stream_video()` for a video")),
    (0, b"ID3", FileKind("a sound file (MP3)")),
    (0, b"fLaC", FileKind("a sound file (FLAC)")),
)
_IMAGE_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"hei", b"hev", b"jp", b"crx")
_MARKUP = (
    (re.compile(rb"<svg[\s>]", re.I), FileKind("an SVG drawing", is_text=True, hint="render it to PNG first")),
    (
        re.compile(rb"<!doctype html|<html[\s>]|<head[\s>]|<body[\s>]", re.I),
        FileKind("an HTML page", is_text=True, hint="was it downloaded from a page, not from the image's own address?"),
    ),
    (re.compile(rb"\A\s*<\?xml|\A\s*<[a-z]", re.I), FileKind("an XML file", is_text=True)),
    (re.compile(rb"\A\s*[\[{]\s*[\"\[{\d]"), FileKind("a JSON file", is_text=True)),
)
_TEXT = FileKind("a text file", is_text=True)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def file_kind(data: bytes | bytearray | memoryview) -> FileKind | None:
    """Name a file by its first bytes; None for supported images and for what is not known.

    Args:
        data: the file, or its first kilobyte.
    """
    head = bytes(data[:_HEAD])
    raw = raw_format(head)
    if raw is not None:
        return _image(f"camera raw ({raw})")
    for start, signature, kind in _SIGNATURES:
        if head.startswith(signature, start):
            return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zipped(head)
    if head[:4] == b"RIFF":
        return {b"AVI ": _video("AVI"), b"WAVE": FileKind("a sound file (WAV)")}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return None if head[8:12].startswith(_IMAGE_BRANDS) else _video("MP4 or QuickTime")
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return _video("MPEG-TS")
    if len(head) > 16 and not any(head):
        return FileKind("filled with zeros", hint="was it copied or downloaded completely?")
    return _text(head)


def _zipped(head: bytes) -> FileKind:
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if first.endswith(b".npy"):
        return FileKind("a NumPy archive (.npz)", hint="results are read by `load_prediction()`")
    if first.startswith((b"[Content_Types].xml", b"word/", b"xl/", b"ppt/", b"mimetype")):
        return FileKind("an Office document", hint="extract the images first")
    return FileKind("a ZIP archive", hint=_ARCHIVE_HINT)


def _text(head: bytes) -> FileKind | None:
    if head.startswith(_UTF16_MARKS) and len(head) > 3 and (head[2] == 0) != (head[3] == 0):
        return _TEXT
    plain = head.removeprefix(b"\xef\xbb\xbf").rstrip(b"\0")
    if not plain or any(byte < 9 or (13 < byte < 32 and byte != 27) for byte in plain):
        return None
    try:
        plain.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":  # the last character may be cut
            return None
    return next((kind for pattern, kind in _MARKUP if pattern.search(plain)), _TEXT)
