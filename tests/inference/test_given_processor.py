"""A caller's function in place of the input processor: what it is called with, and what it may return."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from depth_anything_3.errors import ImageReadError, InvalidInputError
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.seeded_values import seeded_cameras, seeded_images_uint8


@pytest.fixture
def model(seeded_small):
    return copy.deepcopy(seeded_small)


@pytest.fixture(scope="module")
def views():
    return list(seeded_images_uint8(2, 56, 84, seed=1))


def as_tuple(images, extrinsics=None, intrinsics=None, process_res=504, method="upper_bound_resize"):
    batch = InputProcessor()(images, extrinsics, intrinsics, process_res, method)
    return batch.tensor, extrinsics, intrinsics


def test_a_tuple_gives_the_same_prediction_except_for_what_it_lacks(model, views):
    cameras = seeded_cameras(2, 56, 84, seed=2)
    expected = model.inference(views, *cameras, process_res=84)
    model.input_processor = as_tuple
    found = model.inference(views, *cameras, process_res=84)
    for name in ("depth", "conf", "extrinsics", "intrinsics", "processed_images"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.sources == expected.sources
    model.input_processor = None
    assert isinstance(model.input_processor, InputProcessor)


def test_a_module_is_used_like_any_function(model, views):
    class Processor(nn.Module):
        def forward(self, *args):
            return as_tuple(*args)

    names = model.state_dict().keys()
    model.input_processor = processor = Processor()
    assert model.input_processor is processor
    assert model.state_dict().keys() == names
    assert [name for name, _ in model.named_children()] == ["model"]


def test_independent_images_are_passed_one_at_a_time(model, views, tmp_path):
    expected = model.depth(views, process_res=84)
    model.input_processor = lambda images, *args: as_tuple(images, *args)
    failures = []
    images = [views[0], tmp_path / "gone.jpg", views[1]]
    found = list(model.stream(images, process_res=84, on_error="skip", on_failure=failures.append, exif="apply"))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.depth, other.depth)
    assert [(one.index, type(one.error)) for one in failures] == [(1, ImageReadError)]


def test_options_that_differ_from_their_defaults_are_passed_by_keyword(model, views):
    seen = {}

    def process(*args, **options):
        seen.update(options)
        return InputProcessor()(*args, **options)

    model.input_processor = process
    model.inference(views, process_res=84, exif="ignore", num_workers=2)
    assert seen == {"exif": "ignore", "num_workers": 2}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        pytest.param(None, "returned NoneType; return", id="nothing"),
        pytest.param((torch.zeros(2, 3, 56, 84), None), "returned tuple; return", id="two"),
        pytest.param((np.zeros((2, 3, 56, 84)), None, None), "with images as a tensor", id="array"),
        pytest.param((torch.zeros(1, 3, 56, 84), None, None), r"\(1, 3, 56, 84\).*\(2, 3, H, W\)", id="too-few"),
        pytest.param((torch.zeros(2, 3, 56, 85), None, None), "multiples of 14", id="size"),
        pytest.param((torch.zeros(2, 3, 56, 84, dtype=torch.uint8), None, None), "uint8", id="uint8"),
    ],
)
def test_a_result_that_cannot_be_used_is_refused(model, views, result, reason):
    model.input_processor = lambda *_: result
    with pytest.raises(InvalidInputError, match=reason):
        model.inference(views, process_res=84)
