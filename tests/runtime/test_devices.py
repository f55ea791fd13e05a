"""Devices and their dtypes."""

from __future__ import annotations

import pytest
import torch

from depth_anything_3.runtime.devices import default_dtype


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_single_precision_is_the_default_off_cuda(device):
    assert default_dtype(torch.device(device)) is torch.float32


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_bfloat16_is_the_default_where_cuda_computes_in_it(monkeypatch, capability, dtype):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _device: capability)
    assert default_dtype(torch.device("cuda")) is dtype
