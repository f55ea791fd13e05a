"""A model on a machine that runs out of memory: nothing is lost, and what does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.errors import DeviceMemoryError, UnsupportedError
from depth_anything_3.inference import runner
from depth_anything_3.inference.engine import Engine
from depth_anything_3.model.gaussians import Gaussians
from support.gpu_processors import gpu_processor
from support.images import jpeg
from support.little_memory import ASSEMBLY, NETWORK, SHORTAGES, LittleMemory, LittleMemoryDecoder, run_out_of_memory

SMALL = {"process_res": 28, "num_workers": 1}
FILES = [jpeg(60, 40, seed) for seed in range(5)]


@pytest.fixture
def processor(monkeypatch):
    """A stand-in for a GPU's processor, whose decoder has memory for all."""
    with gpu_processor(LittleMemoryDecoder(LittleMemory())) as opened:
        monkeypatch.setattr(Engine, "input_processor", opened)
        yield opened


@pytest.fixture(scope="module")
def expected(seeded_small):
    return seeded_small.depth(FILES, **SMALL)


def assert_equal(found, expected):
    assert [one.sources for one in found] == [one.sources for one in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.processed_images, other.processed_images)
        np.testing.assert_allclose(one.depth, other.depth, rtol=1e-4)


@pytest.mark.parametrize("shortage", [{"times": 1}, {"fits": 2}], ids=["for a moment", "for more than two images"])
@pytest.mark.parametrize("phase", [*ASSEMBLY[:2], *NETWORK])
def test_a_stream_survives_a_shortage_in_every_phase(seeded_small, monkeypatch, processor, expected, phase, shortage):
    memory = LittleMemory(**shortage)
    run_out_of_memory(monkeypatch, phase, memory, processor, seeded_small)
    assert_equal(list(seeded_small.stream(FILES, batch_size=5, **SMALL)), expected)
    assert memory.failed >= 1


@pytest.mark.parametrize("library", SHORTAGES)
@pytest.mark.parametrize("phase", NETWORK)
def test_a_shortage_of_the_network_is_recognised_by_the_text_of_every_library(
    seeded_small, monkeypatch, processor, expected, phase, library
):
    memory = LittleMemory(SHORTAGES[library], times=1)
    run_out_of_memory(monkeypatch, phase, memory, processor, seeded_small)
    assert_equal(list(seeded_small.stream(FILES[:2], batch_size=2, **SMALL)), expected[:2])
    assert memory.failed == 1


@pytest.mark.parametrize("phase", NETWORK)
def test_an_image_that_does_not_fit_alone_fails_in_its_turn(seeded_small, monkeypatch, processor, phase):
    run_out_of_memory(monkeypatch, phase, LittleMemory(fits=0), processor, seeded_small)
    failures = []
    found = list(seeded_small.stream(FILES, batch_size=2, on_error="skip", on_failure=failures.append, **SMALL))
    assert found == []
    assert [one.index for one in failures] == list(range(5))
    assert all(isinstance(one.error, DeviceMemoryError) for one in failures)


def test_a_shortage_of_the_network_gives_back_the_decoders_memory(seeded_small, monkeypatch, processor):
    run_out_of_memory(monkeypatch, "network", LittleMemory(times=1), processor, seeded_small)
    closed = []
    monkeypatch.setattr(processor, "release_memory", lambda: closed.append(1))
    found = list(seeded_small.stream(FILES[:1], **SMALL))
    assert (len(found), closed) == (1, [1])  # a single image is tried again after it


@pytest.mark.parametrize("phase", NETWORK[:2])
def test_views_are_tried_again_after_memory_was_given_back(seeded_small, monkeypatch, processor, phase):
    whole = seeded_small.inference(FILES[:2], **SMALL)
    memory = LittleMemory(times=1)
    run_out_of_memory(monkeypatch, phase, memory, processor, seeded_small)
    np.testing.assert_array_equal(seeded_small.inference(FILES[:2], **SMALL).depth, whole.depth)
    memory._times = 2
    with pytest.raises(DeviceMemoryError, match=r"^cpu: memory ran out .*; use fewer views or a smaller process_res"):
        seeded_small.inference(FILES[:2], **SMALL)


def test_a_shortage_inside_a_compiled_network_is_no_fault_of_the_compiler(seeded_small, monkeypatch, expected):
    class Backend(RuntimeError):
        __module__ = "torch._dynamo.exc"

    forward = seeded_small.model.forward

    def compiled(x, **options):
        if len(x) > 1:
            raise Backend("backend='inductor' raised: OutOfMemoryError: CUDA out of memory")
        return forward(x, **options)

    monkeypatch.setattr(seeded_small.model, "forward", compiled)
    assert_equal(list(seeded_small.stream(FILES, batch_size=5, **SMALL)), expected)
    monkeypatch.setattr(seeded_small.model, "forward", lambda *_, **__: (_ for _ in ()).throw(Backend("no compiler")))
    with pytest.raises(UnsupportedError, match=r"torch\.compile failed"):
        seeded_small.inference(FILES[:1], **SMALL)


def test_without_pinned_memory_results_are_copied_to_other_memory(monkeypatch):
    def pinned(*_, **__):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "empty_like", pinned)
    assert runner._pinned(torch.arange(3)).tolist() == [0, 1, 2]


def test_the_output_of_a_batch_is_split_with_all_that_belongs_to_a_scene():
    tensor = torch.arange(2.0)
    gaussians = Gaussians(*(torch.arange(2.0).reshape(2, 1, 1) for _ in range(5)))
    outputs = {"depth": tensor, "aux": {"feat": tensor}, "gaussians": gaussians}
    computed = runner._Computed([("a",), ("b",)], outputs, tensor.reshape(2, 1, 1, 1), None, lambda: 6.0)
    for index, one in enumerate(runner._scenes(computed)):
        assert one.images == [computed.images[index]]
        assert one.outputs["depth"].tolist() == one.outputs["aux"]["feat"].tolist() == [index]
        assert one.outputs["gaussians"].means.tolist() == [[[index]]]
        assert one.pixels.flatten().tolist() == [index]
        assert one.seconds() == 3.0
