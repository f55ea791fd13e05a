"""JPEG engines of a real card: found or explained, and fed from page-locked memory."""

from __future__ import annotations

import pytest
import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.nvimgcodec import NvImageCodecDecoder
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from support.images import jpeg


def test_there_are_engines_or_the_cause_is_known(cuda):
    found = find_capabilities(cuda)
    assert bool(found.jpeg_engines) is (found.missing_engine is None)


@pytest.mark.parametrize("count", [1, 4, 7, 16])
def test_page_locked_files_decode_to_the_same_pixels(cuda, count):
    try:
        decoders = [NvImageCodecDecoder(cuda, pinned=pinned) for pinned in (False, True)]
    except UnsupportedError as error:
        pytest.skip(str(error))
    for call in range(3):  # the buffers take turns
        files = [jpeg(640, 480, 20 * call + place) for place in range(count)]
        headers = [probe(file, "file") for file in files]
        plain, locked = (decoder.decode(files, headers, [None] * count) for decoder in decoders)
        torch.cuda.synchronize(cuda)
        for one, other in zip(plain, locked, strict=True):
            assert isinstance(one, torch.Tensor), one
            assert isinstance(other, torch.Tensor), other
            assert torch.equal(one, other)
    for decoder in decoders:
        decoder.close()
