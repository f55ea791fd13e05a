"""Outputs in memory that a library takes from torch are guarded, or decoded alone, or rejected."""

from __future__ import annotations

import pytest
import torch

from depth_anything_3.inputs.decode.gpu.batch_fallback import decode_each, encoded_tensor
from depth_anything_3.inputs.decode.gpu.output_guard import AllocationGuard
from depth_anything_3.inputs.header import probe
from support.images import jpeg

FILES = [jpeg(60, 40, seed) for seed in range(3)]
HEADERS = [probe(data, "x") for data in FILES]
SIZE = 3 * 60 * 40


class Pool:
    """Torch's memory: the same blocks are given out again, in order."""

    def __init__(self):
        self.blocks = [torch.zeros(SIZE, dtype=torch.uint8) for _ in range(4)]
        self.given = 0

    def take(self):
        self.given += 1
        return self.blocks[self.given - 1]


class PoolGuard(AllocationGuard):
    def __init__(self, pool):
        super().__init__(torch.device("cpu"))
        self.pool = pool

    def wipe_next(self, sizes):
        self.pool.given = 0
        found = super().wipe_next(sizes)
        self.pool.given = 0
        return found

    def _allocate(self, size):
        return self.pool.take()[:size]


def run(skipped=(), elsewhere=lambda count, place: False):
    """Decode three files into planar outputs; return the results, the guard and the sizes of the calls."""
    pool, calls = Pool(), []
    guard = PoolGuard(pool)

    def decode(batch):
        calls.append(len(batch))
        outputs = []
        for place, file in enumerate(batch):
            memory = torch.zeros(SIZE, dtype=torch.uint8) if elsewhere(len(batch), place) else pool.take()
            if not any(torch.equal(file, encoded_tensor(FILES[index])) for index in skipped):
                memory.fill_(9)
            outputs.append(memory.view(3, 40, 60))
        return outputs

    return decode_each(decode, [encoded_tensor(data) for data in FILES], HEADERS, "library", guard), guard, calls


@pytest.mark.parametrize("skipped", [(), (0,), (1, 2)])
def test_images_that_a_library_skips_are_found_also_if_planar(skipped):
    results, guard, calls = run(skipped)
    assert calls == [3]
    assert guard.sample(results).unwritten() == [index in skipped for index in range(3)]


def test_an_output_in_other_memory_is_decoded_alone():
    results, guard, calls = run(elsewhere=lambda count, place: count == 3 and place == 1)
    assert calls == [3, 1]
    assert [bool((one == 9).all()) for one in results] == [True] * 3
    assert guard.sample(results).unwritten() == [False] * 3


def test_outputs_that_are_never_guarded_are_rejected_with_the_reason():
    results, _, calls = run(elsewhere=lambda count, place: True)
    assert calls == [3, 1, 1, 1]
    assert results == ["library: the memory that it decoded into could not be wiped before"] * 3


def test_smaller_wiped_memory_is_not_enough():
    small, large = jpeg(20, 20, 1), FILES[0]
    pool = Pool()

    def decode(batch):
        return [
            pool.blocks[0].view(3, 40, 60) if file.numel() == len(large) else torch.zeros(3, 20, 20).byte()
            for file in batch
        ]

    class Wrong(PoolGuard):
        def wipe_next(self, sizes):
            return {pool.blocks[0].data_ptr(): 1200}

    results = decode_each(
        decode, [encoded_tensor(large), encoded_tensor(small)], [HEADERS[0], probe(small, "x")], "library", Wrong(pool)
    )
    assert all(isinstance(one, str) for one in results)
