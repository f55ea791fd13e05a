"""A model whose backbone computes in low precision: what it holds, saves and gives back."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from depth_anything_3.api import DepthAnything3
from depth_anything_3.inference import network_module
from depth_anything_3.model import precision

LOW = [torch.bfloat16, torch.float16]
OPTIONS = {"process_res": 56}
IMAGES = [np.random.default_rng(seed).integers(0, 256, (42, 56, 3), np.uint8) for seed in range(3)]


def dtypes(model):
    return {one.dtype for one in model.parameters()}


def autocast_depth(model, dtype, monkeypatch):
    """Depth as with weights in float32."""
    with monkeypatch.context() as patch:
        patch.setattr(precision.LowPrecisionMatrices, "use", lambda *_: None)
        return copy.deepcopy(model).to(dtype).inference(IMAGES, **OPTIONS).depth


@pytest.fixture
def low(small_checkpoint):
    return DepthAnything3.from_pretrained(small_checkpoint, "cpu", "bfloat16")


@pytest.mark.parametrize("dtype", LOW, ids=str)
def test_depth_is_that_of_autocast_to_the_last_bit(seeded_small, small_checkpoint, monkeypatch, dtype):
    expected = autocast_depth(seeded_small, dtype, monkeypatch)
    loaded = DepthAnything3.from_pretrained(small_checkpoint, "cpu", dtype)
    converted = copy.deepcopy(seeded_small).to(dtype)
    for model in (loaded, converted):
        np.testing.assert_array_equal(model.inference(IMAGES, **OPTIONS).depth, expected)
        assert dtypes(model) == {torch.float32, dtype}


def test_float32_is_the_default_on_a_cpu_and_converts_nothing(small_checkpoint):
    model = DepthAnything3.from_pretrained(small_checkpoint, "cpu")
    model.inference(IMAGES, **OPTIONS)
    assert dtypes(model) == {torch.float32}


@pytest.mark.parametrize("way", ["inference", "depth", "forward"])
def test_every_way_to_compute_converts_the_matrices(low, way):
    if way == "forward":
        low(torch.zeros(1, 1, 3, 28, 28))
    else:
        getattr(low, way)(IMAGES[:1], **OPTIONS)
    assert dtypes(low) == {torch.float32, torch.bfloat16}


def test_saved_and_read_weights_are_those_that_were_loaded(low, seeded_small, small_checkpoint, tmp_path):
    low.inference(IMAGES, **OPTIONS)
    low.save_pretrained(tmp_path)
    saved, loaded = (load_file(folder / "model.safetensors") for folder in (tmp_path, small_checkpoint))
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in loaded)
    low.inference(IMAGES, **OPTIONS)
    state = low.state_dict()
    assert all(torch.equal(state[name], one) for name, one in seeded_small.state_dict().items())


def test_the_dtype_can_be_changed_and_changed_back(low, seeded_small, small_checkpoint):
    exact = seeded_small.inference(IMAGES, **OPTIONS).depth
    first = low.inference(IMAGES, **OPTIONS).depth
    for dtype in (torch.float16, torch.float32, torch.bfloat16, torch.float32):
        low.engine.compute_dtype = dtype
        depth = low.inference(IMAGES, **OPTIONS).depth
        assert dtypes(low) == {torch.float32, dtype}
        if dtype is not torch.float16:
            np.testing.assert_array_equal(depth, exact if dtype is torch.float32 else first)


def test_the_networks_own_forward_is_in_float32(low, small_checkpoint):
    x, exact = torch.zeros(1, 2, 3, 28, 28), DepthAnything3.from_pretrained(small_checkpoint, "cpu")
    low.inference(IMAGES, **OPTIONS)
    with torch.no_grad():
        assert torch.equal(low.model(x)["depth"], exact.model(x)["depth"])
    low.model(x)["depth"].sum().backward()
    assert all(one.grad is None or one.grad.dtype is torch.float32 for one in low.parameters())


def test_an_optimiser_made_before_trains_the_float32_weights(low):
    low.inference(IMAGES, **OPTIONS)
    optimiser = torch.optim.SGD(low.parameters(), lr=1e-3)
    weight = low.model.backbone["pretrained"].blocks[0].attn.qkv.weight
    low.train()
    before = weight.detach().clone()
    assert before.dtype is torch.float32
    low.model(torch.zeros(1, 1, 3, 28, 28))["depth"].mean().backward()
    optimiser.step()
    low.eval()
    low.inference(IMAGES, **OPTIONS)
    assert weight.dtype is torch.float32  # trained, so it stays
    assert not torch.equal(low.state_dict()["model.backbone.pretrained.blocks.0.attn.qkv.weight"], before)


def test_matrices_are_converted_before_a_move_to_another_device(low, monkeypatch):
    seen = []

    def watched(network, dtype):
        seen.append((next(network.parameters()).device.type, dtype))

    monkeypatch.setattr(network_module, "use_matrix_dtype", watched)
    copy.deepcopy(low).to("meta")
    copy.deepcopy(low).to("cpu")
    copy.deepcopy(low).to("meta", torch.float32)
    copy.deepcopy(low).to("meta", torch.float16)
    assert seen == [("cpu", torch.bfloat16), ("cpu", torch.float16)]


def test_a_checkpoint_for_another_device_is_converted_on_its_way(small_checkpoint, monkeypatch):
    seen = []
    monkeypatch.setattr("depth_anything_3.api.choose_device", lambda device: torch.device("meta"))
    monkeypatch.setattr(network_module, "use_matrix_dtype", lambda network, dtype: seen.append(dtype))
    model = DepthAnything3.from_pretrained(small_checkpoint, "meta", "float16")
    assert (model.device.type, seen) == ("meta", [torch.float16])


def test_a_conversion_in_place_leaves_the_model_on_its_device(low, caplog):
    with caplog.at_level(logging.WARNING):
        assert low.to("meta").half().device.type == "meta"
    assert "weights stay float32; the backbone computes in torch.float16" in caplog.text


def test_a_stream_survives_that_its_weights_are_read(low):
    images = IMAGES * 2
    expected = [one.depth for one in low.depth(images, **OPTIONS)]
    found = []
    for prediction in low.stream(images, **OPTIONS):
        found.append(prediction.depth)
        assert {one.dtype for one in low.state_dict().values()} == {torch.float32}
    np.testing.assert_array_equal(found, expected)
