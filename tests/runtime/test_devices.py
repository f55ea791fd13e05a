"""Devices and their dtypes."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from depth_anything_3.inputs.decode.gpu.decoder import memory_budget
from depth_anything_3.runtime.devices import default_dtype, empty_cache, memory_is_scarce, total_memory


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_single_precision_is_the_default_off_cuda(device):
    assert default_dtype(torch.device(device)) is torch.float32


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_bfloat16_is_the_default_where_cuda_computes_in_it(monkeypatch, capability, dtype):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _device: capability)
    assert default_dtype(torch.device("cuda")) is dtype


@pytest.mark.parametrize("kind", ["cuda", "mps", "cpu"])
def test_the_cache_of_the_devices_own_allocator_is_emptied(monkeypatch, kind):
    emptied = []
    monkeypatch.setattr("torch.cuda.device", lambda device: nullcontext())
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: emptied.append("cuda"))
    monkeypatch.setattr("torch.mps.empty_cache", lambda: emptied.append("mps"))
    empty_cache(torch.device(kind))
    assert emptied == [kind] * (kind != "cpu")


def test_budgets_follow_the_memory_of_the_device(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _device: SimpleNamespace(total_memory=80 * 2**30))
    monkeypatch.setattr("torch.mps.recommended_max_memory", lambda: 12 * 2**30)
    assert [total_memory(torch.device(kind)) for kind in ("cuda", "mps", "cpu")] == [80 * 2**30, 12 * 2**30, None]
    assert [memory_budget(torch.device(kind)) for kind in ("cuda", "mps", "cpu")] == [5 * 2**30, 3 * 2**28, 2**30]


def test_memory_is_scarce_where_less_than_a_32nd_is_free(monkeypatch):
    free = [2**30]
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _device: (free[0], 32 * 2**30))
    assert not memory_is_scarce(torch.device("cuda"))
    free[0] -= 1
    assert memory_is_scarce(torch.device("cuda"))
    assert not memory_is_scarce(torch.device("cpu"))
