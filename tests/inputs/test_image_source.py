from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.errors import ImageReadError, ImageSizeError, ImageTypeError
from depth_anything_3.inputs.image_source import as_source, read_file


class AnyPath:
    def __fspath__(self) -> str:
        return "some/where.jpg"


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a/b.jpg", "a/b.jpg"),
        (Path("a/b.jpg"), str(Path("a/b.jpg"))),
        (AnyPath(), "some/where.jpg"),
        (b"12345", "image 7 (5 bytes)"),
        (bytearray(5), "image 7 (5 bytes)"),
        (memoryview(b"12345"), "image 7 (5 bytes)"),
        (memoryview(np.zeros(3, np.uint32)), "image 7 (12 bytes)"),
        (Image.new("L", (4, 3)), "image 7 (PIL L 4x3)"),
        (np.zeros((3, 4, 3), np.uint8), "image 7 (array 3x4x3)"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8), "image 7 (tensor 3x4x5)"),
    ],
    ids=[
        "str",
        "Path",
        "PathLike",
        "bytes",
        "bytearray",
        "memoryview",
        "memoryview of numbers",
        "PIL",
        "array",
        "tensor",
    ],
)
def test_every_kind_of_image_is_accepted_and_labelled(image, label):
    assert as_source(image, 7).label == label


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "image 3 has type NoneType; accepted: a path, the bytes"),
        (42, "image 3 has type int"),
        (np.zeros((4, 4, 3), np.float32), r"array 4x4x3.*dtype float32.*uint8.*pass \(255 \* image\)\.round"),
        (np.zeros((4, 4, 3), np.uint16), "dtype uint16.*values are 0 to 0; pass image.astype"),
        (np.zeros((4, 4, 1), np.uint8), "HxWx3, HxWx4 or HxW"),
        (np.zeros((4, 4, 5), np.uint8), "HxWx3, HxWx4 or HxW"),
        (np.zeros((3, 40, 40), np.uint8), "channels last"),
        (np.zeros((2, 4, 4, 3), np.uint8), "HxWx3, HxWx4 or HxW"),
        (torch.zeros(3, 4, 4), r"torch.float32.*torch.uint8.*pass \(255 \* image\)\.round\(\)\.to\("),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "channels first"),
    ],
    ids=["None", "number", "float", "16 bit", "one channel", "five channels", "channels first", "4-D", "float tensor",
         "channels-last tensor"],
)  # fmt: skip
def test_inputs_that_are_not_images_are_rejected_with_the_accepted_types(image, message):
    with pytest.raises(ImageTypeError, match=message) as caught:
        as_source(image, 3)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("image", [np.zeros((0, 4, 3), np.uint8), torch.zeros(3, 0, 4, dtype=torch.uint8)])
def test_an_array_without_pixels_is_rejected(image):
    with pytest.raises(ImageSizeError, match="no pixels"):
        as_source(image)


def test_unreadable_paths_are_rejected_each_with_its_own_reason(tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path, reason in [
        (tmp_path / "missing.jpg", "no such file"),
        (tmp_path, "is a folder"),
        (empty, "the file is empty"),
        (pipe, "not a regular file"),
        (Path("nul\0byte"), "not a valid file name"),
        (tmp_path / ("x" * 300), "cannot be read"),
    ]:
        with pytest.raises(ImageReadError, match=reason) as caught:
            read_file(path)
        assert path.name.encode("unicode_escape").decode() in str(caught.value)
