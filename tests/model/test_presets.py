"""Presets: the parameters of each network are exactly those of the published file."""

from __future__ import annotations

import json
import re

import pytest
import torch
from model_golden import PARAMETER_LISTS

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.model import PRESETS, DepthAnything3Net

PARAMETER_COUNTS = {
    "da3-small": (437, 34_299_463),
    "da3-base": (437, 135_366_599),
    "da3-large": (637, 410_941_767),
    "da3-giant": (971, 1_355_674_125),
}


def on_meta(preset):
    with torch.device("meta"):
        return DepthAnything3Net(preset)


@pytest.mark.parametrize("preset", PRESETS)
def test_state_dict_has_the_published_number_of_parameters(preset):
    state = on_meta(preset).state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == PARAMETER_COUNTS[preset]


@pytest.mark.skipif(not PARAMETER_LISTS.is_dir(), reason=f"no parameter lists in {PARAMETER_LISTS}")
@pytest.mark.parametrize("preset", PRESETS)
def test_state_dict_has_the_published_names_and_shapes(preset):
    listed = json.loads((PARAMETER_LISTS / f"{preset}.json").read_text())
    state = on_meta(preset).state_dict()
    assert {f"model.{name}": list(value.shape) for name, value in state.items()} == {
        name: shape for name, shape, _ in listed
    }


def test_the_shared_norm_is_stored_once_under_level_zero():
    names = [
        name
        for name in on_meta("da3-small").state_dict()
        if re.fullmatch(r"head\.scratch\.output_conv2_aux\.\d\.2\.\w+", name)
    ]
    assert names == [f"head.scratch.output_conv2_aux.0.2.{part}" for part in ("weight", "bias")]


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_are_all_there_is_to_materialise(preset):
    net = on_meta(preset)
    assert list(net.buffers()) == []
    assert net.state_dict().keys() == dict(net.named_parameters()).keys()


def test_an_unknown_preset_is_quoted_with_the_good_ones():
    with pytest.raises(InvalidInputError, match=r"'da3-huge'.*da3-small, da3-base, da3-large, da3-giant"):
        DepthAnything3Net("da3-huge")
