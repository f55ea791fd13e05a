"""The ONNX exporter that is based on torch.jit.trace; needs onnx and onnxruntime, which are no dependencies."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from support.tiny_networks import cameras, images, run

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NAMES = ("depth", "depth_conf", "extrinsics", "intrinsics")


class Tensors(nn.Module):
    """Returns a tuple, since the exporter takes no dictionaries with an empty one inside."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, *given):
        output = self.net(x, *given)
        return tuple(output[name] for name in NAMES)


@pytest.mark.parametrize(
    ("views", "given"), [(1, False), (2, False), (4, False), (3, True)], ids=["one", "two", "four", "given-cameras"]
)
def test_an_exported_network_computes_the_same(tiny, tmp_path, views, given):
    inputs = (images(1, views, seed=5), *(cameras(1, views) if given else ()))
    names = ["x", "extrinsics", "intrinsics"][: len(inputs)]
    path = tmp_path / "network.onnx"
    example = (torch.zeros_like(inputs[0]), *inputs[1:])
    with warnings.catch_warnings():  # torch calls it deprecated, and warns of every decision made by shape
        warnings.simplefilter("ignore")
        torch.onnx.export(Tensors(tiny).eval(), example, path, dynamo=False, input_names=names)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    expected = run(tiny, *inputs)
    for name, found in zip(NAMES, session.run(None, fed), strict=True):
        wanted = expected[name].numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max(), err_msg=name)
