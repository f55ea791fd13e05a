"""How many images form a batch: set, derived from memory, and halved where memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DeviceMemoryError, InvalidInputError
from depth_anything_3.inference.batch_limit import BatchLimit, parse_batch_size
from depth_anything_3.inference.options import BatchOptions

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZE = (280, 504)
SMALL = {"process_res": 56}


@pytest.fixture(scope="module")
def photos():
    return [photo(56, 42, seed) for seed in range(9)]


@pytest.fixture
def little_memory(seeded_small, monkeypatch):
    """A network with memory for three images; returns the sizes of its batches."""
    given = []
    forward = seeded_small.model.forward

    def limited(x, **options):
        given.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(x, **options)

    monkeypatch.setattr(seeded_small.model, "forward", limited)
    return given


def test_a_number_is_the_limit_of_every_size():
    limit = BatchLimit(BatchOptions(batch_size=7), CPU)
    assert (limit(SIZE), limit((14, 14)), limit.expected) == (7, 7, 7)


def test_auto_is_one_on_a_cpu_of_which_nothing_is_known():
    limit = BatchLimit(BatchOptions(batch_size="auto"), CPU)
    with limit.measured(SIZE, 1):
        pass
    assert (limit(SIZE), limit.expected) == (1, 1)


def test_auto_fills_the_share_of_memory_up_to_the_maximum():
    limit = BatchLimit(BatchOptions(batch_size="auto", max_batch_size=20, target_memory_utilization=0.5), CUDA)
    assert limit(SIZE) == 1
    limit.learn(SIZE, count=1, used=100, available=2000)
    assert limit(SIZE) == 10
    limit.learn(SIZE, count=10, used=500, available=2000)  # fixed costs are spread over more images
    assert limit(SIZE) == 20
    limit.learn(SIZE, count=1, used=5000, available=2000)
    assert limit(SIZE) == 1
    assert limit((14, 14)) == 1


def test_after_memory_ran_out_a_limit_does_not_grow_beyond_half_again():
    limit = BatchLimit(BatchOptions(batch_size="auto"), CUDA)
    limit.fail(SIZE, 24)
    limit.learn(SIZE, count=12, used=12, available=10**9)
    assert limit(SIZE) == 12


@pytest.mark.parametrize("batch_size", [5, 9])
def test_a_batch_that_memory_does_not_hold_is_halved_and_nothing_is_lost(
    seeded_small, photos, little_memory, batch_size, caplog
):
    found = list(seeded_small.stream(photos, batch_size=batch_size, **SMALL))
    assert [one.sources for one in found] == [(f"image {index} (array 42x56x3)",) for index in range(9)]
    assert any(size > 3 for size in little_memory)
    # A batch or two may be made already when memory runs out; from then on they are small enough at once.
    assert little_memory[-1] <= 3
    assert "out of memory for" in caplog.text
    little_memory.clear()
    for image, one in zip(photos, found, strict=True):
        alone = seeded_small.inference([image], **SMALL)
        np.testing.assert_allclose(one.depth, alone.depth, rtol=1e-4)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["CUDA", "CPU", "numpy"],
)
def test_one_image_beyond_memory_fails_alone(seeded_small, photos, monkeypatch, error):
    forward = seeded_small.model.forward

    def full(x, **options):
        if x.shape[-1] > 56:
            raise error
        return forward(x, **options)

    monkeypatch.setattr(seeded_small.model, "forward", full)
    images = [photos[0], photo(98, 42, 1), photos[1]]
    options = {"process_res": 42, "process_res_method": "lower_bound_resize", "num_workers": 2}
    with pytest.raises(DeviceMemoryError, match=r"^image 1 .*too large for the memory of cpu at 98x42.*process_res"):
        list(seeded_small.stream(images, **options))
    failures = []
    found = list(seeded_small.stream(images, on_error="skip", on_failure=failures.append, **options))
    assert [one.sources[0] for one in found] == ["image 0 (array 42x56x3)", "image 2 (array 42x56x3)"]
    assert [one.index for one in failures] == [1]
    with pytest.raises(DeviceMemoryError, match=r"^cpu: memory ran out .*fewer views"):
        seeded_small.inference([images[1]], **options)


def test_batch_inference_is_a_stream_as_a_list_with_progress(seeded_small, photos):
    told = []
    found = seeded_small.batch_inference(photos[:3], progress_callback=lambda *one: told.append(one), **SMALL)
    assert told == [(1, 3), (2, 3), (3, 3)]
    expected = seeded_small.depth(photos[:3], **SMALL)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.depth, other.depth)
    told.clear()
    seeded_small.batch_inference(iter(photos[:1]), progress_callback=lambda *one: told.append(one), **SMALL)
    assert told == [(1, None)]


@pytest.mark.parametrize(("text", "parsed"), [("3", 3), ("auto", "auto"), ("all", 12)])
def test_batch_sizes_on_a_command_line(text, parsed):
    assert parse_batch_size(text, 12) == parsed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": "all"}, r"batch_size='all': give a whole number, 1 or more, or 'auto'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": "auto", "max_batch_size": 0}, "max_batch_size=0"),
        ({"batch_size": "auto", "target_memory_utilization": 1.5}, r"target_memory_utilization=1\.5"),
    ],
)
def test_other_limits_are_refused(seeded_small, photos, options, told):
    with pytest.raises(InvalidInputError, match=told):
        seeded_small.stream(photos, **options)
