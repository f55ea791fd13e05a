"""The network on the GPU against the CPU, and the pipeline that feeds it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.model.network import use_matrix_dtype
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.images import jpeg

# From 2.9 on torch warns of these switches, which older versions need.
pytestmark = pytest.mark.filterwarnings("ignore:.*TF32")


@pytest.fixture(scope="module")
def on_gpu(seeded_small, cuda):
    model = copy.deepcopy(seeded_small).to(cuda)
    model.engine.compute_dtype = torch.float32
    return model


@pytest.fixture(autouse=True)
def full_float32():
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [one.allow_tf32 for one in switches]
    for one in switches:
        one.allow_tf32 = False
    yield
    for one, value in zip(switches, before, strict=True):
        one.allow_tf32 = value


def test_float32_depth_equals_the_cpus(seeded_small, on_gpu):
    images = [photo(280, 210, seed) for seed in range(2)]
    found = on_gpu.inference(images, process_res=140, strategy="full_gpu")
    expected = seeded_small.inference(list(found.processed_images), process_res=140)
    np.testing.assert_array_equal(found.processed_images, expected.processed_images)
    assert np.median(np.abs(found.depth / expected.depth - 1)) < 1e-4
    np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-2)
    np.testing.assert_allclose(found.extrinsics, expected.extrinsics, atol=2e-3)


def test_the_processor_follows_the_model_and_its_precision(on_gpu, cuda):
    assert isinstance(on_gpu.input_processor, GPUInputProcessor)
    assert on_gpu.input_processor.device == cuda
    assert on_gpu.input_processor.dtype is torch.float32


def test_bfloat16_is_near_float32(on_gpu):
    images = [photo(280, 210, 5)]
    exact = on_gpu.depth(images, process_res=140)[0].depth
    on_gpu.engine.compute_dtype = torch.bfloat16
    try:
        assert on_gpu.input_processor.dtype is torch.bfloat16
        low = on_gpu.depth(images, process_res=140)[0].depth
    finally:
        on_gpu.engine.compute_dtype = torch.float32
    assert np.median(np.abs(low / exact - 1)) < 0.05


def test_a_stream_on_the_gpu_gives_each_photo_what_it_has_alone(on_gpu):
    files = [jpeg(400, 300, 0), jpeg(300, 400, 1), photo(400, 300, 2), jpeg(400, 300, 3, progressive=True)] * 3
    streamed = list(on_gpu.stream(files, batch_size=4, process_res=140))
    for file, one in zip(files, streamed, strict=True):
        alone = on_gpu.inference([file], process_res=140)
        np.testing.assert_array_equal(one.processed_images, alone.processed_images)
        assert np.median(np.abs(one.depth / alone.depth - 1)) < 1e-3  # other batch sizes, other algorithms
        assert one.choices


def test_a_loaded_model_holds_its_matrices_in_the_dtype_of_its_computation(small_checkpoint, seeded_small, cuda):
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(cuda)
    model = DepthAnything3.from_pretrained(small_checkpoint, cuda, "bfloat16")
    held = torch.cuda.memory_allocated(cuda) - before
    full = sum(one.nbytes for one in seeded_small.parameters())
    backbone = sum(one.nbytes for one in seeded_small.model.backbone.parameters())
    assert held < full - 0.45 * backbone
    model.depth([photo(280, 210, 5)], process_res=140)
    state = model.state_dict()
    for name, one in seeded_small.state_dict().items():
        assert state[name].device == model.device
        assert torch.equal(state[name].cpu(), one), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_held_matrices_give_what_autocast_gives(seeded_small, cuda, dtype):
    net, x = copy.deepcopy(seeded_small.model).to(cuda), torch.randn(1, 2, 3, 140, 140, device=cuda)
    with torch.inference_mode(), torch.autocast("cuda", dtype=dtype):
        expected = net(x)["depth"]
        use_matrix_dtype(net, dtype)
        found = net(x)["depth"]
    assert torch.equal(found, expected)
    assert {one.dtype for one in net.backbone.parameters()} == {torch.float32, dtype}


def test_weights_move_between_devices_without_loss(seeded_small, cuda):
    model = copy.deepcopy(seeded_small).to(cuda, torch.bfloat16)
    model.depth([photo(280, 210, 5)], process_res=140)
    moved = model.to("cpu").float()
    for (name, one), expected in zip(moved.named_parameters(), seeded_small.parameters(), strict=True):
        assert torch.equal(one, expected), name
