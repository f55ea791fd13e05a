"""`Prediction` in a notebook."""

from __future__ import annotations

import numpy as np
import torch

from depth_anything_3.errors import ImageReadError
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.prediction import Prediction


def test_repr_shows_shapes_and_not_data():
    prediction = Prediction(
        depth=np.zeros((2, 504, 378), np.float32),
        is_metric=1,
        sky=np.zeros((2, 504, 378), bool),
        aux={"feat_layer_5": np.zeros((2, 36, 27, 384), np.float32)},
        gaussians={"means": torch.zeros(1, 9, 3)},
        sources=("a.jpg", "b.jpg"),
    )
    assert repr(prediction) == (
        "Prediction(depth=float32[2, 504, 378], is_metric=1, sky=bool[2, 504, 378], "
        "gaussians={'means': torch.float32[1, 9, 3]}, aux={'feat_layer_5': float32[2, 36, 27, 384]}, "
        "sources=('a.jpg', 'b.jpg'), depth_kind='relative')"
    )


def test_repr_names_what_failed():
    failure = ImageFailure(1, "b.jpg", ImageReadError("b.jpg: no such file"))
    assert "b.jpg: no such file" in repr(Prediction(depth=np.zeros((1, 2, 3), np.float32), failures=(failure,)))


def test_predictions_can_be_compared_and_hashed():
    one, other = (Prediction(depth=np.zeros((1, 2, 3), np.float32)) for _ in range(2))
    assert one == one
    assert one != other
    assert len({one, other}) == 2
