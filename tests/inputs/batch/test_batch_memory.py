"""Images that the workers write into one batch, and those that are copied into it."""

from __future__ import annotations

import numpy as np
import pytest

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageTypeError
from depth_anything_3.inputs.batch.batch_memory import BatchMemory, joined, own_slot
from depth_anything_3.inputs.resample.normalize import normalized_levels
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.images import exif_block, jpeg

TABLE = normalized_levels()


def levels_of(slots):
    return [slot.levels for slot in slots]


def test_images_of_one_size_lie_in_one_array():
    memory = BatchMemory(3, TABLE)
    slots = [memory.slot(index, (4, 5)) for index in range(3)]
    for index, slot in enumerate(slots):
        slot.levels[:] = index
    whole = joined(levels_of(slots))
    assert whole.shape == (3, 3, 4, 5)
    assert np.shares_memory(whole, slots[1].levels)
    assert whole[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert slots[0].normalization.values.dtype == np.float32


def test_images_of_another_size_get_no_slot():
    memory = BatchMemory(2, None)
    assert memory.slot(1, (4, 5)).normalization is None
    assert memory.slot(0, (5, 4)) is None


def test_a_part_of_a_batch_is_copied():
    memory = BatchMemory(3, None)
    slots = levels_of(memory.slot(index, (2, 2)) for index in range(3))
    for index, one in enumerate(slots):
        one[:] = index
    assert joined(slots[1:])[:, 0, 0, 0].tolist() == [1, 2]
    assert joined(slots[2:]).shape == (1, 3, 2, 2)


def test_single_images_have_memory_of_their_own():
    slot_of = own_slot(TABLE)
    first, second = slot_of(0, (2, 2)), slot_of(1, (2, 2))
    assert not np.shares_memory(first.levels, second.levels)
    assert joined([first.levels]).shape == (1, 3, 2, 2)


@pytest.fixture(scope="module")
def processor():
    with InputProcessor() as processor:
        yield processor


IMAGES = {
    "colour": photo(90, 70, 1),
    "reversed": photo(90, 70, 2)[..., ::-1],
    "alpha": np.dstack([photo(90, 70, 3), photo(90, 70, 4)[..., 0]]),
    "grey": photo(90, 70, 5)[..., 0],
    "file": jpeg(90, 70, 6),
    "rotated": jpeg(70, 90, 7, exif=exif_block(6)),
    "large": photo(640, 498, 8),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("names", [*([name] for name in IMAGES), list(IMAGES)], ids="-".join)
def test_values_are_those_of_the_pixels(processor, names, workers):
    batch = processor([IMAGES[name] for name in names], process_res=56, num_workers=workers)
    pixels = batch.pixels.numpy()
    for channel in range(3):
        np.testing.assert_array_equal(batch.tensor[:, channel].numpy(), TABLE[channel][pixels[:, channel]])
    alone = [processor([IMAGES[name]], process_res=56, num_workers=1, perform_normalization=False) for name in names]
    for place, one in enumerate(alone):
        np.testing.assert_array_equal(pixels[place], one.tensor[0].numpy())


def test_skipped_images_leave_no_gap(processor):
    images = [IMAGES["colour"], b"not an image", IMAGES["grey"]]
    batch = processor(images, process_res=56, on_error="skip")
    expected = processor([images[0], images[2]], process_res=56)
    assert [one.index for one in batch.failures] == [1]
    np.testing.assert_array_equal(batch.tensor.numpy(), expected.tensor.numpy())


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_is_raised(processor, workers):
    images = [IMAGES["colour"], 1, IMAGES["grey"], "missing.jpg"]
    with pytest.raises(ImageTypeError, match="image 1 "):
        processor(images, process_res=56, num_workers=workers)
