"""What is not decoded is named, in plain words and not in those of a library."""

from __future__ import annotations

import pytest

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.header import probe

LEAKS = ("0x", "unpack", "buffer of", "identify", "data stream", "index out of", "Traceback", "BytesIO", "struct")
STARTS = {
    "jpg": (b"\xff\xd8", "truncated or damaged JPEG: its header is not complete in"),
    "one byte": (b"\xff", ""),
    "jpg3": (b"\xff\xd8\xff", "truncated or damaged JPEG"),
    "png": (b"\x89PNG\r\n\x1a\n", "truncated or damaged PNG"),
    "apple": (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI", "Apple's own variant"),
    "gif": (b"GIF89a", "truncated or damaged GIF"),
    "tif": (b"II*\0", "truncated or damaged TIFF"),
    "tif8": (b"MM\0*\0\0\0\x08", "truncated or damaged TIFF"),
    "bmp": (b"BM", "image"),
    "webp": (b"RIFF\0\0\0\0WEBPVP8 ", "truncated or damaged"),
    "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", "truncated or damaged"),
    "j2k": (b"\xff\x4f\xff\x51", "truncated or damaged"),
    "avif": (b"\0\0\0\x18ftypavif", "truncated or damaged"),
    "heic": (b"\0\0\0\x18ftypheic", "truncated or damaged"),
    "ico": (b"\0\0\1\0", "truncated or damaged ICO"),
    "ppm": (b"P6", "truncated or damaged"),
    "qoi": (b"qoif", "truncated or damaged QOI"),
    "sgi": (b"\x01\xda", "image"),
    "psd": (b"8BPS\0\1", "a Photoshop document; convert it"),
    "jxl": (b"\xff\x0a\xfa", "JPEG XL"),
    "exr": (b"v/1\x01", "OpenEXR"),
    "hdr": (b"#?RADIANCE\n", "Radiance HDR"),
    "pfm": (b"PF\n3 3\n-1.0\n", "floating-point"),
    "pam": (b"P7\nWIDTH 3\n", "PAM image"),
    "icns": (b"icns", "Apple icon"),
    "svg": (b'<?xml version="1.0"?>\n<svg ', "SVG drawing"),
    "html": (b"<!DOCTYPE html><html>", "HTML page"),
    "pdf": (b"%PDF-1.7\n", "PDF document"),
    "mp4": (b"\0\0\0\x18ftypisom", r"video.*use `stream_video\(\)`"),
    "mov": (b"\0\0\0\x18ftypqt  ", "video"),
    "mkv": (b"\x1aE\xdf\xa3", "video"),
}


@pytest.mark.parametrize("padding", [0, 200, 3000])
@pytest.mark.parametrize("name", STARTS)
def test_a_file_that_is_not_decoded_is_named_in_plain_words(name, padding):
    start, message = STARTS[name]
    expected = message if padding or len(start) > 8 or name in ("jpg", "jpg3", "png", "tif", "gif") else ""
    with pytest.raises(ImageDecodeError, match=rf"^a\.{name.partition(' ')[0]}: .*{expected}") as caught:
        probe(start + bytes(padding), f"a.{name.partition(' ')[0]}")
    assert [leak for leak in LEAKS if leak in str(caught.value)] == []
