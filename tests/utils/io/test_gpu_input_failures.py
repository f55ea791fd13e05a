"""Broken images and failing decoders cost the GPU processor only what they must."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DA3Error, ImageDecodeError, UnsupportedError
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.faulty_decoder import EXACT, NEAREST, FaultyDecoder
from support.gpu_processors import CUDA, GPU, MIXED, assert_same, broken_inside, gpu_processor, strategies
from support.images import jpeg, largest_difference


def test_files_that_the_decoder_rejects_go_to_the_cpu_with_the_reason(cpu):
    inputs = [jpeg(120, 90, seed) for seed in range(4)]
    decoder = FaultyDecoder(refuse=lambda data: "engine: busy" if data == inputs[2] else None)
    with gpu_processor(decoder) as processor:
        batch = processor(inputs, process_res=56)
    assert strategies(batch) == [GPU, GPU, MIXED, GPU]
    assert batch.images[2].choice.reason == "engine: busy"
    assert_same(batch, cpu(inputs, process_res=56))


def damaged(tmp_path):
    """Files that are broken differently; each must fail, or not, as it does on the CPU."""
    whole = jpeg(240, 180, 3)
    return {
        "cut": whole[:2000],
        "cut, with an end marker": whole[:2000] + b"\xff\xd9",
        "no end marker": whole[:-2],
        "no pixels": whole[:200] + b"\xff\xd9",
        "no tables": broken_inside(whole),
        "no frame": b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9",
        "flipped": whole[:3000] + bytes(b ^ 0x55 for b in whole[3000:3040]) + whole[3040:],
        "trailing bytes": whole + b"\0" * 100,
        "text": b"not an image",
        "missing": tmp_path / "missing.jpg",
        "folder": tmp_path,
        "thin": jpeg(2000, 9, 1),
    }


def test_a_broken_file_fails_as_it_does_on_the_cpu(cpu, tmp_path):
    # A decoder that takes everything it can: what a file is worth must not depend on it.
    refuse = lambda data: "engine: corrupt data" if b"\xff\xd9" not in data[-2:] else None  # noqa: E731
    with gpu_processor(FaultyDecoder(refuse=refuse)) as processor:
        for name, broken in damaged(tmp_path).items():
            outcomes = []
            for one in (cpu, processor):
                try:
                    outcomes.append(one([broken], process_res=56).pixels.numpy())
                except DA3Error as error:
                    outcomes.append((type(error), str(error)))
            if isinstance(outcomes[0], np.ndarray):
                assert largest_difference(*outcomes) <= 1, name
            else:
                assert outcomes[0] == outcomes[1], name


def test_the_first_bad_image_is_raised_wherever_it_fails(tmp_path):
    late = broken_inside(jpeg(120, 90, 0))  # is found to be broken only when it is decoded
    with gpu_processor() as processor, pytest.raises(ImageDecodeError, match=r"image 1 \("):
        processor([jpeg(120, 90), late, tmp_path / "missing.jpg"], process_res=56)


def test_skipped_images_are_the_same_as_on_the_cpu(cpu, tmp_path):
    inputs = [jpeg(240, 180, 7), *damaged(tmp_path).values(), jpeg(240, 180, 8)]
    cameras = np.tile(np.eye(3), (len(inputs), 1, 1)) * np.arange(1, len(inputs) + 1)[:, None, None]
    with gpu_processor() as processor:
        batches = [one(inputs, None, cameras, process_res=56, on_error="skip") for one in (processor, cpu)]
    ours, theirs = batches
    assert_same(ours, theirs)
    found = [[(one.index, one.label, type(one.error), str(one.error)) for one in batch.failures] for batch in batches]
    assert found[0] == found[1]
    assert len(found[0]) > 5
    assert torch.equal(ours.intrinsics, theirs.intrinsics)


def test_when_no_view_can_be_used_the_error_names_them():
    with gpu_processor() as processor, pytest.raises(ImageDecodeError, match="none of the 2 images can be used"):
        processor([broken_inside(jpeg(120, 90)), b"?"], process_res=56, on_error="skip")


def test_a_decoder_that_cannot_be_opened_leaves_the_work_to_the_cpu(cpu, caplog):
    def fail(name, device):
        raise UnsupportedError(f"{name}: the driver is too old")

    inputs = [jpeg(120, 90, seed) for seed in range(3)]
    with GPUInputProcessor("cpu", capabilities=CUDA, open_decoder=fail) as processor:
        with caplog.at_level(logging.WARNING, "depth_anything_3"):
            batch = processor(inputs, process_res=56)
            processor(inputs, process_res=56)
        assert strategies(batch) == [MIXED] * 3
        assert "the driver is too old" in batch.images[0].choice.reason
    assert len(caplog.records) == 1
    assert_same(batch, cpu(inputs, process_res=56))


def test_after_a_decoder_that_cannot_be_opened_the_next_one_is_used(cpu):
    good = FaultyDecoder(NEAREST)

    def opened(name, device):
        if name == "stand-in":
            raise OSError("libnvjpeg: no such file")  # not an error of ours: libraries raise what they like
        return good

    capabilities = replace(CUDA, decoders=(EXACT, NEAREST))
    with GPUInputProcessor("cpu", capabilities=capabilities, open_decoder=opened) as processor:
        for expected in (MIXED, GPU):
            batch = processor([jpeg(560, 420)], process_res=56, fidelity="high")
            assert strategies(batch) == [expected]


@pytest.mark.parametrize("error", [RuntimeError("no memory"), MemoryError(), ValueError("odd"), OSError("gone")])
def test_a_decoder_that_raises_costs_nothing_but_time(cpu, error, caplog):
    decoder = FaultyDecoder()

    def fail(files, headers, min_hw):
        raise error

    decoder.decode = fail
    inputs = [jpeg(120, 90, 0), photo(120, 90, 1), jpeg(120, 90)[:1500]]
    with gpu_processor(decoder) as processor:
        batch = processor(inputs, process_res=56, on_error="skip")
    assert strategies(batch) == [MIXED, MIXED]
    assert batch.images[0].choice.reason.startswith("stand-in: ")
    assert_same(batch, cpu(inputs, process_res=56, on_error="skip"))
