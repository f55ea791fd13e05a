"""`Prediction` in a notebook."""

from __future__ import annotations

import numpy as np
import torch

from depth_anything_3.errors import ImageReadError
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.routing.strategy import RoutingDecision
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
    prediction.depth[:, :252] = np.linspace(1, 5, 252)[:, None]
    assert repr(prediction) == (
        "Prediction of a.jpg, b.jpg\n"
        "  depth: float32[2, 504, 378], metres; min 1, median 3, max 5, 50.0% invalid\n"
        "  sky bool[2, 504, 378]; gaussians {means: torch.float32[1, 9, 3]}; "
        "aux {feat_layer_5: float32[2, 36, 27, 384]}"
    )


def test_repr_has_at_most_ten_short_lines_whatever_a_prediction_holds():
    count = 50
    depth = np.zeros((count, 4, 6), np.float32)
    failure = ImageFailure(1, "b.jpg", ImageReadError("b.jpg:\n" + "no such file " * 100))
    choice = RoutingDecision(Strategy.CPU, "progressive JPEG")
    prediction = Prediction(
        depth=depth,
        conf=depth,
        aux={f"feat_layer_{layer}": depth for layer in range(40)},
        sources=tuple(f"{number}.jpg" for number in range(count)),
        source_hw=tuple((number, 9) for number in range(count)),
        model_name="da3-base",
        choices=(choice,) * count,
        failures=(failure,) * 9,
        warnings=("a.jpg: truncated",) * 9,
        seconds={"decode": 0.5, "network": 1.25},
    )
    lines = repr(prediction).splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 302
    assert lines[0] == "Prediction by da3-base of 0.jpg, 1.jpg, 2.jpg and 47 more"
    assert lines[1] == "  depth: float32[50, 4, 6], relative; no valid depth"
    assert "  seconds: decode 0.500, network 1.250" in lines
    assert "  strategy: cpu" in lines


def test_repr_names_what_failed():
    failure = ImageFailure(1, "b.jpg", ImageReadError("b.jpg: no such file"))
    assert "b.jpg: no such file" in repr(Prediction(depth=np.zeros((1, 2, 3), np.float32), failures=(failure,)))


def test_predictions_can_be_compared_and_hashed():
    one, other = (Prediction(depth=np.zeros((1, 2, 3), np.float32)) for _ in range(2))
    assert one == one
    assert one != other
    assert len({one, other}) == 2
