"""No image ever gets another image's pixels, whatever a GPU decoder reports."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from support.faulty_decoder import LyingDecoder
from support.gpu_processors import GPU, MIXED, assert_same, broken_inside, gpu_processor, strategies
from support.images import jpeg, largest_difference

FIRST = [jpeg(120, 90, seed) for seed in range(3)]
SECOND = [jpeg(120, 90, seed) for seed in range(3, 6)]
REASON = "stand-in reported the image as decoded but did not write all of it"


def skipping(*skipped):
    return LyingDecoder(skip=lambda data, place: data in skipped)


def writing_part(data_in_part, rows):
    return LyingDecoder(rows=lambda data, place: rows if data == data_in_part else None)


def test_without_a_guard_a_skipped_image_is_the_previous_one(cpu):
    """What the guard is for; libraries with memory of their own did this."""
    decoder = LyingDecoder(skip=lambda data, place: data == SECOND[1], guarded=False)
    with gpu_processor(decoder) as processor:
        processor(FIRST, process_res=56)
        batch = processor(SECOND, process_res=56)
    assert strategies(batch) == [GPU] * 3
    assert largest_difference(batch.pixels[1].numpy(), cpu([FIRST[1]], process_res=56).pixels[0].numpy()) <= 1


@pytest.mark.parametrize(
    "decoder",
    [
        pytest.param(lambda: skipping(SECOND[1]), id="skipped"),
        pytest.param(lambda: writing_part(SECOND[1], 89), id="without the last row"),
        pytest.param(lambda: writing_part(SECOND[1], 40), id="half"),
        pytest.param(lambda: writing_part(SECOND[1], 0), id="nothing"),
    ],
)
@pytest.mark.parametrize("normalized", [True, False])
def test_an_image_that_was_not_written_is_decoded_on_the_cpu_with_the_reason(cpu, caplog, decoder, normalized):
    with gpu_processor(decoder()) as processor, caplog.at_level(logging.WARNING, "depth_anything_3"):
        processor(FIRST, process_res=56)
        batch = processor(SECOND, process_res=56, perform_normalization=normalized)
    expected = cpu(SECOND, process_res=56, perform_normalization=normalized)
    assert strategies(batch) == [GPU, MIXED, GPU]
    assert batch.images[1].choice.reason == REASON
    assert_same(batch, expected)
    assert largest_difference(batch.tensor.numpy(), expected.tensor.numpy()) <= (0.0176 if normalized else 1)
    assert (batch.tensor is batch.pixels) is not normalized
    assert [record.getMessage() for record in caplog.records] == [f"decoding 1 of 3 images on the CPU: {REASON}"]


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_stream_of_images_with_skipped_ones_gives_each_its_own_pixels(cpu, batch_size):
    files = [jpeg(120, 90, seed) if seed % 3 else jpeg(90, 120, seed) for seed in range(12)]
    lost = [files[index] for index in (1, 3, 4, 11)]
    found = {}
    with gpu_processor(skipping(*lost)) as processor:
        for batch in processor.batches(files, PreprocessOptions(process_res=56), batch_size=batch_size):
            for image, pixels in zip(batch.images, batch.pixels.numpy(), strict=True):
                found[image.index] = image.choice.strategy, pixels
    assert sorted(found) == list(range(12))
    for index, (strategy, pixels) in found.items():
        assert strategy is (MIXED if files[index] in lost else GPU)
        assert largest_difference(pixels, cpu([files[index]], process_res=56).pixels[0].numpy()) <= 1


def test_an_unwritten_file_that_is_broken_fails_alone(cpu):
    files = [FIRST[0], broken_inside(FIRST[1]), FIRST[2], b"?", SECOND[0]]
    with gpu_processor(skipping(files[1], files[4])) as processor:
        batch = processor(files, process_res=56, on_error="skip")
    expected = cpu(files, process_res=56, on_error="skip")
    assert strategies(batch) == [GPU, GPU, MIXED]
    assert_same(batch, expected)
    assert [(one.index, str(one.error)) for one in batch.failures] == [
        (one.index, str(one.error)) for one in expected.failures
    ]
    assert batch.tensor.shape == expected.tensor.shape


def test_a_batch_of_which_nothing_is_left_gives_failures_only():
    broken = [broken_inside(one) for one in FIRST]
    with gpu_processor(skipping(*broken)) as processor:
        items = list(processor.batches(broken, PreprocessOptions(process_res=56), batch_size=3))
    failures = [one for item in items for one in ([item] if isinstance(item, ImageFailure) else item.failures)]
    assert sorted(one.index for one in failures) == [0, 1, 2]
    assert all(len(item.images) == 0 for item in items if not isinstance(item, ImageFailure))


def test_a_file_cut_and_closed_by_an_end_marker_never_shows_an_earlier_image(cpu):
    """The rest of such a file may keep what was in memory: its pixels are those of the CPU decoder, which are grey."""
    cut = FIRST[0][:2000] + b"\xff\xd9"
    with gpu_processor(writing_part(cut, 30)) as processor:
        processor([FIRST[1]], process_res=56)
        batch = processor([cut], process_res=56)
    assert batch.images[0].choice.strategy is Strategy.HYBRID
    assert np.array_equal(batch.pixels.numpy(), cpu([cut], process_res=56).pixels.numpy())
