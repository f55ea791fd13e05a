"""Videos decoded by NVDEC, against the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.inputs.video import open_source
from support.clips import write_clip
from support.images import psnr


def decoded_by_nvdec(path, device, **selection):
    source = open_source(path, device=device, **selection)
    if source.info.decoder.name != "torchcodec":
        pytest.skip(source.info.decoder.reason)
    return list(source)


@pytest.mark.parametrize("selection", [{}, {"every": 5}, {"fps": 2}], ids=str)
def test_frames_are_those_of_the_cpu_while_the_gpu_is_busy(cuda, tmp_path, selection):
    path = write_clip(tmp_path / "a.mp4", 90, size_hw=(360, 640))
    load = torch.randn(4096, 4096, device=cuda, dtype=torch.bfloat16)
    for _ in range(200):  # on the current stream, as the network
        load = torch.tanh(load @ load)
    frames = decoded_by_nvdec(path, cuda, **selection)
    expected = list(open_source(path, strategy="cpu", **selection))
    assert [frame.time for frame in frames] == [frame.time for frame in expected]
    for frame, other in zip(frames, expected, strict=True):
        assert frame.ready.query()
        assert psnr(frame.image.permute(1, 2, 0).cpu().numpy(), np.asarray(other.image)) > 35


def test_sparse_frames_hold_only_themselves(cuda, tmp_path):
    frames = decoded_by_nvdec(write_clip(tmp_path / "a.mp4", 90, size_hw=(360, 640)), cuda, fps=2)
    assert {frame.image.untyped_storage().nbytes() for frame in frames} == {3 * 360 * 640}
