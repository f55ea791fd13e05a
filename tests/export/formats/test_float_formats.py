"""`tiff` and `exr`: depth to the last bit, read back by other programs' readers."""

from __future__ import annotations

import json
import struct
import zlib

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image

from depth_anything_3.errors import ExportError, UnsupportedError
from depth_anything_3.export import export
from support.full_disk import full_disk


@pytest.fixture
def odd_depths(plane_scene):
    plane_scene.depth[0, 0, :6] = [np.nan, np.inf, -np.inf, -1, 0, 1e-30]
    return plane_scene


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(tifffile.imread, id="tifffile"),
        pytest.param(lambda path: cv2.imread(str(path), cv2.IMREAD_UNCHANGED), id="opencv"),
        pytest.param(lambda path: np.asarray(Image.open(path)), id="pillow"),
    ],
)
def test_a_tiff_gives_depth_back_to_the_last_bit(odd_depths, tmp_path, read):
    written = export(odd_depths, tmp_path, "tiff")
    assert written == [tmp_path / "tiff" / "0000.tiff", tmp_path / "tiff" / "0001.tiff"]
    for path, depth in zip(written, odd_depths.depth, strict=True):
        values = read(path)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, depth)


@pytest.mark.parametrize(("is_metric", "unit"), [(0, "relative"), (1, "metre")])
def test_a_tiff_says_its_unit(plane_scene, tmp_path, is_metric, unit):
    plane_scene.is_metric = is_metric
    path = export(plane_scene, tmp_path, "tiff")[0]
    with tifffile.TiffFile(path) as file:
        assert json.loads(file.pages[0].description) == {"depth_unit": unit}


def test_an_exr_gives_depth_back_to_the_last_bit_and_says_its_unit(odd_depths, tmp_path):
    odd_depths.is_metric = 1
    written = export(odd_depths, tmp_path, "exr")
    assert written == [tmp_path / "exr" / "0000.exr", tmp_path / "exr" / "0001.exr"]
    for path, depth in zip(written, odd_depths.depth, strict=True):
        with OpenEXR.File(str(path)) as file:
            assert file.header()["depth_unit"] == "metre"
            assert list(file.channels()) == ["Z"]
            np.testing.assert_array_equal(file.channels()["Z"].pixels, depth)


def read_exr(path) -> dict[str, np.ndarray]:
    """Float32 channels of a ZIP-compressed scanline file, by the description of the format (openexr.com)."""
    content = path.read_bytes()
    assert struct.unpack_from("<II", content) == (20000630, 2)
    attributes, at = {}, 8
    while content[at]:
        name, kind, rest = content[at:].split(b"\0", 2)
        (size,) = struct.unpack_from("<i", rest)
        attributes[name.decode()] = rest[4 : 4 + size]
        at += len(name) + len(kind) + 2 + 4 + size
    assert attributes["compression"] == b"\3"
    channels = [entry.split(b"\0", 1)[0] for entry in [attributes["channels"]]]
    assert struct.unpack_from("<i", attributes["channels"], len(channels[0]) + 1) == (2,)  # float32
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    offsets = struct.unpack_from(f"<{-(-height // 16)}Q", content, at + 1)
    rows = []
    for offset in offsets:
        first, size = struct.unpack_from("<ii", content, offset)
        lines = min(16, top + height - first)
        block = content[offset + 8 : offset + 8 + size]
        if size < 4 * width * lines:  # what does not shrink is stored as it is
            codes = np.frombuffer(zlib.decompress(block), np.uint8).astype(np.int64)
            codes[1:] -= 128
            halves = np.cumsum(codes).astype(np.uint8)
            middle = (len(halves) + 1) // 2
            block = np.stack([halves[:middle], halves[middle:]], axis=1).tobytes()
        rows.append(np.frombuffer(block, "<f4").reshape(lines, width))
    return {channels[0].decode(): np.concatenate(rows)}


def test_an_independent_reader_finds_depth_in_an_exr(plane_scene, tmp_path):
    for path, depth in zip(export(plane_scene, tmp_path, "exr"), plane_scene.depth, strict=True):
        (channel,) = read_exr(path).items()
        assert channel[0] == "Z"
        np.testing.assert_array_equal(channel[1], depth)


def test_an_independent_image_gives_files_of_its_name(plane_scene_of, tmp_path):
    written = export(plane_scene_of(1), tmp_path, "tiff-exr", "ferien ü.v2")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "tiff/ferien ü.v2.tiff",
        "exr/ferien ü.v2.exr",
    ]
    assert all(path.is_file() for path in written)


def test_without_openexr_the_extra_is_named(plane_scene, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UnsupportedError, match=r"exr needs the package OpenEXR, .*pip install '\.\[exr\]'"):
        export(plane_scene, tmp_path, "exr")


@pytest.mark.parametrize("formats", ["tiff", "exr"])
def test_a_full_disk_is_reported_and_leaves_no_partial_file(plane_scene, tmp_path, formats):
    with full_disk(1000), pytest.raises(ExportError, match=rf"0000\.{formats}: cannot be written"):
        export(plane_scene, tmp_path, formats)
    assert list((tmp_path / formats).iterdir()) == []
