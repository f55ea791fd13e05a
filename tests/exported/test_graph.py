"""The module that is exported, without exporting it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.graph import ExportedNetwork, prepared_copy, selected_outputs
from depth_anything_3.exported.specification import ExportSpecification, GraphMetadata, Output
from depth_anything_3.exported.weights import weights_hash
from depth_anything_3.model import DepthAnything3Net
from depth_anything_3.model.catalog import find_card
from support.exported import TINY_CARD, TINY_METRIC_CARD, expected_outputs, normalized, pixels_of
from support.tiny_networks import TINY_METRIC, seeded


@pytest.fixture(scope="module")
def tiny_metric():
    return seeded(lambda: DepthAnything3Net(TINY_METRIC))


def metadata(outputs, **changes):
    given = {"model": "tiny", "licence": "Apache-2.0", "weights_sha256": "", "size_hw": (56, 84), "dynamic": "none"}
    given |= {"depth_unit": "metres", "views": 1, "dtype": "float32", "input": "uint8", "takes_focal": True} | changes
    return GraphMetadata(outputs=outputs, **given)


def test_a_graph_normalises_bytes_and_returns_metres(tiny_metric):
    module = ExportedNetwork(tiny_metric, TINY_METRIC_CARD, ExportSpecification(input="uint8"))
    pixels = pixels_of(2, 1, 28, 42)
    with torch.no_grad():
        found = module(pixels[:, 0], torch.full((2,), 450.0))
    expected = expected_outputs(tiny_metric, metadata(module.outputs), pixels, focal=450.0)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-6)


def test_bytes_and_normalised_images_give_equal_results(tiny_metric):
    pixels = pixels_of(1, 1, 28, 28)
    of_bytes, of_floats = (
        ExportedNetwork(tiny_metric, TINY_METRIC_CARD, ExportSpecification(input=kind, outputs=("sky",)))
        for kind in ("uint8", "normalised")
    )
    with torch.no_grad():
        assert torch.equal(of_bytes(pixels[:, 0])[0], of_floats(normalized(pixels)[:, 0])[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("da3-small", ["depth", "conf", "extrinsics", "intrinsics"]),
        ("da3-nano", ["depth", "sky"]),
        ("da3metric-large", ["depth", "sky"]),
        ("da3nested-giant-large", ["depth", "conf", "extrinsics", "intrinsics"]),
    ],
)
def test_a_graph_has_all_outputs_of_its_model(name, expected):
    assert [one.value for one in selected_outputs(find_card(name), ExportSpecification())] == expected


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("da3-nano", {"outputs": ("depth", "conf")}, "outputs conf of da3-nano, which has depth, sky"),
        ("da3-small", {"outputs": ("sky",)}, "outputs sky of da3-small, which has depth, conf, extrinsics, intrinsics"),
        ("da3-nano", {"views": 2}, "views=2 with da3-nano"),
        ("da3metric-large", {"views": "dynamic"}, "views='dynamic' with da3metric-large"),
    ],
)
def test_what_a_model_lacks_is_named(name, changes, message):
    with pytest.raises(UnsupportedError) as caught:
        selected_outputs(find_card(name), ExportSpecification(**changes))
    assert message in str(caught.value)


def test_a_repeated_output_is_returned_once():
    chosen = selected_outputs(TINY_CARD, ExportSpecification(outputs=("conf", "depth", "conf")))
    assert chosen == (Output.CONF, Output.DEPTH)


def test_a_copy_in_half_precision_leaves_the_network_as_it_was(tiny_metric):
    before = weights_hash(tiny_metric)
    twin = prepared_copy(tiny_metric, ExportSpecification(dtype="float16"))
    qkv = "backbone.pretrained.blocks.0.attn.qkv.weight"
    assert dict(twin.named_parameters())[qkv].dtype is torch.float16
    assert weights_hash(tiny_metric) == before
    head = "head.scratch.output_conv1.weight"
    assert twin.get_parameter(head) is tiny_metric.get_parameter(head)


def test_the_hash_follows_names_and_values(tiny_metric):
    other = seeded(lambda: DepthAnything3Net(TINY_METRIC))
    assert weights_hash(other) == weights_hash(tiny_metric)
    with torch.no_grad():
        other.backbone["pretrained"].cls_token[0, 0, 0] += 1
    assert weights_hash(other) != weights_hash(tiny_metric)
