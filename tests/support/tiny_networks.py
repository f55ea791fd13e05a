"""Networks of the published structure in miniature, inputs for them, and comparison of their results."""

from __future__ import annotations

import torch

from depth_anything_3.model import Preset
from depth_anything_3.model.catalog import FeedForward
from support.model_golden import scaled_error
from support.seeded_values import seeded_array, seeded_cameras, seeded_images

TINY = Preset(
    name="tiny",
    width=64,
    depth=8,
    heads=1,
    out_layers=(1, 3, 5, 7),
    alt_start=2,
    head_features=32,
    head_channels=(8, 16, 32, 32),
    feed_forward=FeedForward.SWIGLU,
    gaussian_head=True,
)
TINY_METRIC = Preset(
    name="tiny-metric",
    width=64,
    depth=4,
    heads=1,
    out_layers=(0, 1, 2, 3),
    alt_start=None,
    head_features=32,
    head_channels=(8, 16, 32, 32),
)


def seeded(make):
    """A network with seeded weights."""
    with torch.device("meta"):
        net = make()
    weights = {k: torch.from_numpy(seeded_array(f"model.{k}", v.shape)) for k, v in net.state_dict().items()}
    net.load_state_dict(weights, assign=True)
    return net.eval()


def images(batch=1, views=1, height=42, width=56, seed=3):
    folded = torch.from_numpy(seeded_images(batch * views, height, width, seed))
    return folded.unflatten(0, (batch, views))


def cameras(batch=1, views=1, height=42, width=56, seed=3):
    return [
        torch.from_numpy(x).unflatten(0, (batch, views)) for x in seeded_cameras(batch * views, height, width, seed)
    ]


def run(net, *args, **kwargs):
    with torch.inference_mode():
        return net(*args, **kwargs)


def assert_same(actual, expected, tolerance=2e-5):
    """Equal results, aside from rounding that depends on how work is grouped."""
    assert actual.keys() == expected.keys()
    for key in actual.keys() - {"aux"}:
        assert scaled_error(actual[key].numpy(), expected[key].numpy()) <= tolerance, key
    assert actual["aux"].keys() == expected["aux"].keys()
    for key, value in actual["aux"].items():
        assert scaled_error(value.numpy(), expected["aux"][key].numpy()) <= tolerance, key


def pick(result, scenes=slice(None), views=slice(None)):
    """The results of some scenes and views."""
    picked = {key: value[scenes, views] for key, value in result.items() if key != "aux"}
    return picked | {"aux": {key: value[scenes, views] for key, value in result["aux"].items()}}
