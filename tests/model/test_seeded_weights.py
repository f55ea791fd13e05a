"""The recipe behind the goldens: if these fail, no golden can be trusted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.model import DepthAnything3Net
from support.seeded_values import (
    fingerprint,
    probe_indices,
    seeded_array,
    seeded_images,
    seeded_images_uint8,
    seeded_state_dict,
)

FIRST_VALUES = {
    "model.backbone.pretrained.cls_token": ((1, 1, 384), [0.16638014, -0.35247162, 0.70484436]),
    "model.head.projects.0.weight": ((48, 768, 1, 1), [0.05238634, 0.03115367, -0.03138188]),
    "model.backbone.pretrained.blocks.0.ls1.gamma": ((384,), [0.33361021, 0.26578212, 0.34675086]),
    "model.cam_dec.fc_fov.0.bias": ((2,), [0.99491757, 1.00399065]),
    "model.head.scratch.output_conv2_aux.3.5.bias": ((7,), [-0.01290493, 0.00021782, 1.93790841]),
}


@pytest.mark.parametrize("name", FIRST_VALUES)
def test_parameters_begin_with_the_recorded_values(name):
    shape, values = FIRST_VALUES[name]
    np.testing.assert_allclose(seeded_array(name, shape).ravel()[:3], values, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("profile", "crc"), [("normal", 0x6B4F9D49), ("quiet", 0xF1A89AFB), ("bare_cls", 0x606D08BE)])
def test_the_small_network_has_the_recorded_fingerprint(profile, crc):
    with torch.device("meta"):
        net = DepthAnything3Net("da3-small")
    shapes = {f"model.{name}": value.shape for name, value in net.state_dict().items()}
    assert fingerprint(seeded_state_dict(shapes, profile)) == crc


def test_images_have_the_recorded_values():
    values = seeded_images(2, 70, 98, 12).ravel()[[0, 1, 1000, -1]]
    np.testing.assert_allclose(values, [0.56953096, 0.60237324, 0.80472541, 1.88305151], rtol=0, atol=1e-6)


def test_8_bit_images_have_the_recorded_values():
    assert seeded_images_uint8(3, 56, 84, 101).ravel()[[0, 1, 1000, -1]].tolist() == [81, 75, 61, 104]


def test_probes_run_from_the_first_value_to_the_last():
    assert probe_indices(1000, 4).tolist() == [0, 333, 666, 999]
    assert probe_indices(3, 4).tolist() == [0, 1, 2]
