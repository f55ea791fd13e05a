"""Networks written as files of other formats compute what torch computes."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import ExportError, UnsupportedError
from depth_anything_3.exported.specification import METADATA_KEY, ExportSpecification, GraphMetadata
from depth_anything_3.exported.weights import weights_hash
from depth_anything_3.exported.write import write_model
from depth_anything_3.model import DepthAnything3Net, NestedDepthAnything3Net
from depth_anything_3.model.catalog import find_card
from support.exported import (
    TINY_CARD,
    TINY_METRIC_CARD,
    expected_outputs,
    graph_inputs,
    largest_error,
    pixels_of,
    run_file,
)
from support.tiny_networks import TINY, TINY_METRIC, seeded

SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
SIZES = [(280, 504), (504, 378), (518, 518), (14, 14), (1008, 560)]

for library in ("onnx", "onnxscript", "onnxruntime"):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}", allow_module_level=True)


@pytest.fixture(scope="module")
def tiny_metric():
    return seeded(lambda: DepthAnything3Net(TINY_METRIC))


@pytest.fixture(scope="module")
def onnx_file(tiny_metric, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    specification = ExportSpecification(size_hw=(42, 56), dynamic="all", input="uint8")
    return path, write_model(tiny_metric, TINY_METRIC_CARD, specification, path)


def check(path, network, metadata, shape, focal=None):
    pixels = pixels_of(*shape)
    found = run_file(path, graph_inputs(metadata, pixels, focal))
    error = largest_error(found, expected_outputs(network, metadata, pixels, focal))
    assert error <= 1e-4, (shape, error)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 14, 14), (3, 1, 28, 70), (1, 1, 518, 518), (2, 1, 14, 126)])
def test_one_onnx_file_takes_every_size(onnx_file, tiny_metric, shape):
    path, metadata = onnx_file
    check(path, tiny_metric, metadata, shape, focal=450.0)


@pytest.mark.slow
def test_an_onnx_file_describes_itself(onnx_file, tiny_metric):
    import onnx

    path, metadata = onnx_file
    model = onnx.load(path)
    stored = {one.key: one.value for one in model.metadata_props}
    assert GraphMetadata.from_json(stored[METADATA_KEY]) == metadata
    assert (metadata.depth_unit, metadata.takes_focal) == ("metres", True)
    assert metadata.weights_sha256 == weights_hash(tiny_metric)
    axes = {
        one.name: [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim]
        for one in (*model.graph.input, *model.graph.output)
    }
    assert axes == {
        "image": ["batch", "height", "width", 3],
        "focal": ["batch"],
        "depth": ["batch", "height", "width"],
        "sky": ["batch", "height", "width"],
    }
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_missing_library_is_named_with_its_extra(tiny_metric, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr("depth_anything_3.exported.write.export_program", lambda *_: None)
    with pytest.raises(UnsupportedError, match=r"pip install '\.\[onnx\]'"):
        write_model(tiny_metric, TINY_METRIC_CARD, ExportSpecification(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_what_was_there(tiny_metric, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    target = tmp_path / "a.pt2"
    target.write_bytes(b"earlier")
    monkeypatch.setattr("depth_anything_3.exported.write.export_program", lambda *_: None)
    monkeypatch.setattr("depth_anything_3.exported.write.write_pt2", fail)
    with pytest.raises(ExportError, match=r"a\.pt2: cannot be written"):
        write_model(tiny_metric, TINY_METRIC_CARD, ExportSpecification(format="pt2"), target)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.pt2", b"earlier")]


@pytest.mark.long
@pytest.mark.parametrize("format", ["openvino", "pt2"])  # ONNX: tests/cli/test_export_model.py
def test_the_bundled_network_is_one_file_for_all_sizes(format, tmp_path):
    network, path = DepthAnything3.from_pretrained("da3-nano").model, tmp_path / f"nano{SUFFIX[format]}"
    metadata = write_model(network, find_card("da3-nano"), ExportSpecification(format=format, dynamic="all"), path)
    for size in SIZES:
        check(path, network, metadata, (1, 1, *size))
    check(path, network, metadata, (3, 1, 126, 224))


@pytest.mark.slow
@pytest.mark.parametrize("format", SUFFIX)
def test_any_number_of_views_in_one_file(format, tmp_path):
    network, path = seeded(lambda: DepthAnything3Net(TINY)), tmp_path / f"tiny{SUFFIX[format]}"
    specification = ExportSpecification(format=format, size_hw=(56, 84), dynamic="all", views="dynamic")
    metadata = write_model(network, TINY_CARD, specification, path)
    for shape in [(1, 1, 14, 14), (2, 2, 56, 42), (1, 3, 84, 56), (2, 5, 28, 28), (1, 3, 518, 518)]:
        check(path, network, metadata, shape)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "dynamic", "views", "shape"),
    [("onnx", "none", 3, (1, 3, 56, 84)), ("openvino", "batch", 1, (3, 1, 56, 84)), ("pt2", "none", 3, (1, 3, 56, 84))],
)
def test_fixed_sizes(format, dynamic, views, shape, tmp_path):
    network, path = seeded(lambda: DepthAnything3Net(TINY)), tmp_path / f"tiny{SUFFIX[format]}"
    specification = ExportSpecification(format=format, size_hw=(56, 84), dynamic=dynamic, views=views)
    check(path, network, write_model(network, TINY_CARD, specification, path), shape)


@pytest.mark.slow
def test_the_nested_network_returns_metres_without_a_focal_length(tmp_path):
    network, path = seeded(lambda: NestedDepthAnything3Net(TINY, TINY_METRIC)), tmp_path / "nested.onnx"
    specification = ExportSpecification(size_hw=(56, 84), dynamic="all", views="dynamic")
    metadata = write_model(network, find_card("da3nested-giant-large"), specification, path)
    assert (metadata.depth_unit, metadata.takes_focal) == ("metres", False)
    for shape in [(1, 1, 28, 42), (2, 3, 84, 56)]:
        check(path, network, metadata, shape)


@pytest.mark.slow
@pytest.mark.parametrize("preset", [TINY, TINY_METRIC], ids=["any-view", "metric"])
def test_a_float16_graph_does_not_overflow_with_activations_of_fifty_times(preset, tmp_path):
    network, path = seeded(lambda: DepthAnything3Net(preset)), tmp_path / "half.onnx"
    backbone = network.backbone["pretrained"]
    with torch.no_grad():
        for one in (backbone.cls_token, backbone.pos_embed, *backbone.patch_embed.parameters()):
            one.mul_(50)
        for block in backbone.blocks:
            block.ls1.gamma.mul_(50)
            block.ls2.gamma.mul_(50)
    card = TINY_CARD if preset is TINY else TINY_METRIC_CARD
    metadata = write_model(network, card, ExportSpecification(size_hw=(56, 84), dtype="float16"), path)
    pixels = pixels_of(1, 1, 56, 84)
    found = run_file(path, graph_inputs(metadata, pixels))
    expected = expected_outputs(network, metadata, pixels)
    assert all(np.isfinite(value).all() for value in found)
    assert np.mean(np.abs(found[0] - expected[0]) / expected[0]) <= 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_matrices_of_the_backbone_are_stored_in_half(dtype, tmp_path):
    import onnx

    network, path = seeded(lambda: DepthAnything3Net(TINY)), tmp_path / "half.onnx"
    write_model(network, TINY_CARD, ExportSpecification(size_hw=(28, 42), dtype=dtype), path)
    half = onnx.TensorProto.FLOAT16 if dtype == "float16" else onnx.TensorProto.BFLOAT16
    initializers = onnx.load(path).graph.initializer
    stored = sum(np.prod(one.dims) for one in initializers if one.data_type == half and one.dims)  # no scalars
    matrices = sum(
        one.numel()
        for layer in network.backbone.modules()
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))
        for one in layer.parameters()
    )
    assert stored == matrices
