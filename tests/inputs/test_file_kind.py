"""Files that are no images are named by their first bytes."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from depth_anything_3.errors import ImageDecodeError, ImageReadError
from depth_anything_3.inputs.file_kind import file_kind
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.image_source import read_file
from support.corpus.cases import corpus


def archive(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(name, "x")
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, depth=np.zeros((1, 2, 2)))
    return file.getvalue()


# Signatures from the formats' specifications.
KINDS = [
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
    (archive("a.jpg"), "a ZIP archive"),
    (archive("[Content_Types].xml"), "an Office document"),
    (npz(), r"a NumPy archive \(\.npz\)"),
    (b"\x1f\x8b\x08\0", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive"),
    (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
    (b"a.jpg".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
    (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    (b"<svg viewBox='0 0 1 1'></svg>", "an SVG drawing"),
    (b"\n<!DOCTYPE html>\n<html><head></head></html>", "an HTML page; was it downloaded from a page"),
    (b"<html><body>404</body></html>", "an HTML page"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML file"),
    (b'{"error": "not found"}', "a JSON file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer; run `git lfs pull`"),
    ("f\u00fcr.jpg\n".encode(), "a text file"),
    ("a.jpg\r\n".encode("utf-16"), "a text file"),
    (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", r"a video \(MP4 or QuickTime\); use `stream_video\(\)`"),
    (b"\0\0\0\x14ftypqt  ", "a video"),
    (b"\x1a\x45\xdf\xa3\x01\0", r"a video \(Matroska or WebM\)"),
    (b"RIFF\0\0\0\0AVI LIST", r"a video \(AVI\)"),
    (b"RIFF\0\0\0\0WAVEfmt ", "a sound file"),
    ((b"\x47" + bytes(187)) * 3, r"a video \(MPEG-TS\)"),
    (b"\0\0\x01\xba\x44", r"a video \(MPEG\)"),
    (b"v/1\x01\x02\0\0\0", "an OpenEXR image; convert it"),
    (b"#?RADIANCE\n", "a Radiance HDR image"),
    (b"8BPS\0\1", "a Photoshop document"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"\xff\x0a\xfa\x7f\x01\x90", "a JPEG XL image"),
    (bytes(128) + b"DICM", "a DICOM image"),
    (b"\0\x05\x16\x07\0\2", "macOS metadata of another file"),
    (bytes(100), "filled with zeros"),
]


@pytest.mark.parametrize(("data", "name"), KINDS, ids=[name[:24] for _, name in KINDS])
def test_what_is_no_image_is_named(data, name):
    with pytest.raises(ImageDecodeError, match=f"^x: not an image of a supported format but {name}"):
        probe(data, "x")


@pytest.mark.parametrize(
    ("data", "name"), [(b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon CR3"), (b"FUJIFILMCCD-RAW 0201", "Fujifilm RAF")]
)
def test_camera_raw_is_named(data, name):
    with pytest.raises(ImageDecodeError, match=rf"^x: camera raw \({name}\) is not decoded; export it"):
        probe(data, "x")


def test_what_is_not_known_is_quoted():
    with pytest.raises(ImageDecodeError, match=r"^x: not an image of a known format \(it starts with b'\\xfe"):
        probe(b"\xfe\x01\x02\x03" * 20, "x")


def test_no_readable_image_is_taken_for_something_else():
    assert [str(one) for one in corpus() if one.pixels is not None and file_kind(one.data) is not None] == []


@pytest.mark.parametrize("name", ["https://example.com/a.jpg", "https:/example.com/a.jpg"])
def test_an_address_is_quoted_with_both_slashes(name):
    with pytest.raises(ImageReadError, match=r"^https://example\.com/a\.jpg: images are read from disk"):
        read_file(Path(name))


def test_heic_without_its_library_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # importing it fails
    with pytest.raises(ImageDecodeError, match=r"^x: a HEIC image, .*; run pip install '\.\[heif\]' in the folder of"):
        probe(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "x")
