"""What the network returns for a batch becomes a prediction for each scene."""

from __future__ import annotations

import pytest
import torch

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.utils.io.output_processor import OutputProcessor


def test_each_scene_gets_its_own_scale_and_gaussians():
    shapes = ((2, 6, 3), (2, 6, 3), (2, 6, 4), (2, 6, 3, 9), (2, 6))
    gaussians = Gaussians(*(torch.rand(shape) for shape in shapes))
    outputs = {
        "depth": torch.rand(2, 1, 2, 3),
        "is_metric": torch.tensor([1, 0]),
        "scale_factor": torch.tensor([2.5, torch.nan]),
        "gaussians": gaussians,
        "aux": {},
    }
    first, second = OutputProcessor().scenes(outputs)
    assert (first.is_metric, first.scale_factor) == (1, 2.5)
    assert (second.is_metric, second.scale_factor) == (0, None)
    assert torch.equal(second.gaussians.means, gaussians.means[1:])


def test_the_output_of_several_scenes_is_not_one_prediction():
    with pytest.raises(InvalidInputError, match=r"the output of 2 scenes; .*use scenes\(\)"):
        OutputProcessor()({"depth": torch.rand(2, 1, 2, 3)})


def test_what_a_model_does_not_predict_is_none():
    prediction = OutputProcessor()({"depth": torch.rand(1, 1, 2, 3), "sky": torch.tensor([[[[0.4, 0.5, 0.6]]]])})
    assert prediction.sky.tolist() == [[[False, True, True]]]
    assert prediction.is_metric == 0
    absent = ("conf", "extrinsics", "intrinsics", "gaussians", "scale_factor")
    assert [name for name in absent if getattr(prediction, name) is not None] == []
