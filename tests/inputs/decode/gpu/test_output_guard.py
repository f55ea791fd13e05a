"""The guard finds every image that was skipped or ends early, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.decode.gpu.output_guard import OutputGuard

SIZES = [(1, 1), (1, 7), (5, 1), (13, 11), (16, 16), (17, 33), (83, 121), (240, 320)]


def memory_of(guard, size):
    memory = torch.zeros(3 * size[0] * size[1], dtype=torch.uint8)
    guard.wipe(memory, memory.numel())
    return memory, memory.view(*size, 3)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_skipped_image_is_found(size):
    guard = OutputGuard(torch.device("cpu"))
    _, image = memory_of(guard, size)
    assert guard.sample([image]).unwritten() == [True]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_written_image_is_not(size):
    guard = OutputGuard(torch.device("cpu"))
    found = []
    for pixels in (photo(size[1], size[0], 1), np.zeros((*size, 3), np.uint8), np.full((*size, 3), 255, np.uint8)):
        _, image = memory_of(guard, size)
        image.copy_(torch.from_numpy(pixels))
        found += guard.sample([image]).unwritten()
    assert found == [False] * 3


@pytest.mark.parametrize("size", [(3, 4), (8, 8), (40, 60), (41, 62), (41, 61), (17, 33)], ids=str)
def test_a_grey_planar_image_is_not(size):
    guard = OutputGuard(torch.device("cpu"))
    memory, _ = memory_of(guard, size)
    planes = memory.view(3, *size)
    assert guard.sample([planes.permute(1, 2, 0)]).unwritten() == [True]
    found = []
    for level in range(256):
        planes.fill_(level)
        found += guard.sample([planes.permute(1, 2, 0)]).unwritten()
    assert not any(found)


@pytest.mark.parametrize("missing", [1, 8, 16, 1000])
def test_an_image_whose_end_is_missing_is_found(missing):
    guard = OutputGuard(torch.device("cpu"))
    memory, _ = memory_of(guard, (83, 121))
    memory[: -3 * missing] = 7
    assert guard.sample([memory.view(83, 121, 3)]).unwritten() == [True]


@pytest.mark.parametrize("first", [0, 30, 60])
def test_a_missing_stripe_is_found(first):
    guard = OutputGuard(torch.device("cpu"))
    _, image = memory_of(guard, (160, 120))
    image[:first] = 7
    image[first + 10 :] = 7
    assert guard.sample([image]).unwritten() == [True]


def test_images_of_different_sizes_are_checked_together():
    guard = OutputGuard(torch.device("cpu"))
    images = []
    for index, size in enumerate(SIZES):
        _, image = memory_of(guard, size)
        if index % 2:
            image.fill_(index)
        images.append(image)
    assert guard.sample(images).unwritten() == [index % 2 == 0 for index in range(len(SIZES))]


@pytest.mark.parametrize("capacity", [3, 8, 20, 24, 64])
def test_all_of_the_memory_asked_for_is_filled(capacity):
    guard = OutputGuard(torch.device("cpu"))
    memory = torch.zeros(capacity, dtype=torch.uint8)
    for size in range(1, capacity + 1):
        memory.zero_()
        guard.wipe(memory, size)
        assert bool((memory[:size] != 0).all())


def test_the_pattern_has_no_grey_pixel_and_differs_between_decoders():
    memories = []
    for _ in range(2):
        memory = torch.zeros(24, dtype=torch.uint8)
        OutputGuard(torch.device("cpu")).wipe(memory, 24)
        memories.append(memory)
        assert all(len(set(pixel)) == 3 for pixel in memory.view(8, 3).tolist())
    assert not torch.equal(*memories)
