"""Running out of a real GPU's memory: nothing is lost, and decoders come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from depth_anything_3.errors import DeviceMemoryError, UnsupportedError
from depth_anything_3.inputs.batch import gpu_decoders
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.decode.gpu.decoder import memory_budget
from depth_anything_3.inputs.decode.gpu.nvimgcodec import NAME
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.runtime.device_errors import out_of_memory, translate_device_errors
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.images import jpeg

MIB = 2**20


@pytest.fixture
def leave(cuda):
    """Call it with a number of bytes: only they remain free. With None, all is free again."""
    held: list[torch.Tensor] = []

    def apply(size: int | None) -> None:
        held.clear()
        torch.cuda.synchronize(cuda)
        torch.cuda.empty_cache()
        if size is not None:
            free, _ = torch.cuda.mem_get_info(cuda)
            held.append(torch.empty(max(0, free - size), dtype=torch.uint8, device=cuda))

    yield apply
    apply(None)


def engine_only(cuda):
    """What the machine has, with nvImageCodec as the only decoder."""
    found = find_capabilities(cuda)
    decoders = tuple(one for one in found.decoders if one.name == NAME)
    if not decoders:
        pytest.skip(f"{NAME} is not installed")
    try:
        open_decoder(NAME, cuda).close()
    except UnsupportedError as error:
        pytest.skip(str(error))
    return replace(found, decoders=decoders, costs=None)


def test_a_batch_beyond_the_memory_is_computed_in_parts(seeded_small, cuda, leave):
    files = [jpeg(640, 480, seed) for seed in range(4)] * 16
    try:
        model = seeded_small.to(cuda)
        alone = model.inference(files[:1], process_res=504)
        leave(1536 * MIB)
        found = list(model.stream(files, batch_size=64, process_res=504))
    finally:
        seeded_small.to("cpu")
    assert len(found) == len(files)
    np.testing.assert_array_equal(found[0].processed_images, alone.processed_images)


def test_what_cannot_fit_is_a_shortage_of_memory_and_the_device_still_works(cuda):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**45, dtype=torch.uint8, device=cuda)
    assert out_of_memory(caught.value)
    with pytest.raises(DeviceMemoryError), translate_device_errors(cuda):
        raise caught.value
    assert torch.ones(3, device=cuda).sum().item() == 3


def test_a_decoder_without_memory_rests_and_is_used_again(cuda, leave, monkeypatch):
    capabilities = engine_only(cuda)
    now = [0.0]
    monkeypatch.setattr(gpu_decoders, "monotonic", lambda: now[0])
    files = [jpeg(4000, 3000, 1)] * 4
    options = PreprocessOptions(process_res=504, strategy="gpu_decode")
    with GPUInputProcessor(cuda, capabilities=capabilities) as processor:
        expected = processor.views(files, options)
        processor.release_memory()
        leave(48 * MIB)
        short = processor.views(files, options)  # by the GPU or the CPU, as memory allows
        leave(None)
        now[0] = 61.0
        after = processor.views(files, options)
    assert [one.choice.strategy for one in after.images] == [Strategy.GPU_DECODE] * 4
    for batch in (short, after):
        assert (batch.pixels.int() - expected.pixels.int()).abs().max() <= 2


def test_the_memory_of_a_decoders_places_stays_within_its_budget_and_is_given_back(cuda):
    engine_only(cuda)
    large, small = jpeg(4000, 3000, 1), jpeg(64, 64, 2)
    decoder = open_decoder(NAME, cuda)
    decoder._budget = 3 * 3 * 4000 * 3000
    assert memory_budget(cuda) == torch.cuda.get_device_properties(cuda).total_memory // 16
    for place in range(8):
        files = [small] * 8
        files[place] = large
        decoder.decode(files, [probe(data, "x") for data in files], [None] * 8)
        torch.cuda.synchronize(cuda)
        assert sum(one.capacity for one in decoder._images) <= decoder._budget
    decoder.close()
    before, _ = torch.cuda.mem_get_info(cuda)
    again = open_decoder(NAME, cuda)
    again.close()
    after, _ = torch.cuda.mem_get_info(cuda)
    assert before - after < 64 * MIB
