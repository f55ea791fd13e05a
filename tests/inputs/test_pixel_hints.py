"""The line that an error gives converts the array or tensor to an image that is accepted."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from depth_anything_3.errors import ImageTypeError
from depth_anything_3.inputs.image_source import as_source

LEVELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4
FROM_16_BITS = np.array([[0, 128, 129, 65535]], np.uint16)
CHANNELS_FIRST = torch.from_numpy(LEVELS).permute(2, 0, 1)


def converted(image):
    """Apply the line that the error gives."""
    with pytest.raises(ImageTypeError) as caught:
        as_source(image)
    line = re.search(r"pass (.+)$", str(caught.value))
    assert line is not None, str(caught.value)
    return eval(line[1], {"np": np, "torch": torch, "image": image})


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param((LEVELS / 255).astype(np.float32), LEVELS, id="0 to 1"),
        pytest.param((LEVELS / 255).astype(np.float16), LEVELS, id="float16"),
        pytest.param(LEVELS.astype(np.float64), LEVELS, id="0 to 255"),
        pytest.param(LEVELS.astype(np.int64), LEVELS, id="int64"),
        pytest.param(FROM_16_BITS, [[0, 0, 1, 255]], id="16 bits"),
        pytest.param(LEVELS[..., 0] > 100, (LEVELS[..., 0] > 100) * 255, id="bool"),
        pytest.param(np.moveaxis(LEVELS, 2, 0), LEVELS, id="channels first"),
        pytest.param(LEVELS[..., :1], LEVELS[..., 0], id="one channel"),
        pytest.param(LEVELS[None, ..., 0], LEVELS[..., 0], id="one channel first"),
        pytest.param(CHANNELS_FIRST / 255, CHANNELS_FIRST, id="tensor 0 to 1"),
        pytest.param(CHANNELS_FIRST.half() / 255, CHANNELS_FIRST, id="tensor float16"),
        pytest.param(CHANNELS_FIRST.double(), CHANNELS_FIRST, id="tensor 0 to 255"),
        pytest.param(CHANNELS_FIRST > 100, (CHANNELS_FIRST > 100) * 255, id="tensor bool"),
        pytest.param(torch.from_numpy(LEVELS), CHANNELS_FIRST, id="tensor channels last"),
        pytest.param(CHANNELS_FIRST[0], CHANNELS_FIRST[:1].expand(3, -1, -1), id="grey tensor"),
        pytest.param(torch.cat([CHANNELS_FIRST, CHANNELS_FIRST[:1]]), CHANNELS_FIRST, id="tensor with alpha"),
    ],
)
def test_the_line_converts(image, expected):
    result = converted(image)
    assert as_source(result).data.dtype in (np.uint8, torch.uint8)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))


def test_the_bytes_of_an_encoded_file_in_an_array():
    assert converted(np.frombuffer(b"file", np.uint8)) == b"file"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 5), -1.5), "its values are -1.5 to -1.5; pass the image before normalisation"),
        (np.full((4, 5), 4000.0), "its values are 4000 to 4000; scale them to 0 to 255"),
        (np.full((4, 5), 1 << 20), "scale them to 0 to 255"),
        (np.full((4, 5), np.nan), "not all finite"),
        (np.zeros((4, 5), complex), "pass values from 0 to 255 as uint8"),
        (np.zeros((7, 4, 5), np.uint8), r"of several grey images pass list\(images\)"),
        (np.zeros((2, 7, 4, 5, 3), np.uint8), "of more than one image pass a list"),
    ],
)
def test_where_no_line_is_right_the_message_says_what_is_wrong(image, message):
    with pytest.raises(ImageTypeError, match=message):
        as_source(image)
