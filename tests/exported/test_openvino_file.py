"""Files of OpenVINO: what stays float32 when they compute in bfloat16, or are stored in float16."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from depth_anything_3.exported.openvino_file import _halve_matrices, _mark_float32
from depth_anything_3.exported.runtimes.openvino import _core


def test_all_but_matrix_products_is_marked_to_stay_float32(tmp_path):
    openvino = pytest.importorskip("openvino")
    ops = pytest.importorskip("openvino.opset13")
    x = ops.parameter([2, 4], np.float32)
    product = ops.matmul(x, ops.constant(np.ones((4, 4), np.float32)), False, False)
    path = tmp_path / "net.xml"
    openvino.save_model(openvino.Model([ops.exp(product)], [x]), path, compress_to_fp16=False)
    _mark_float32(path)
    layers = ET.parse(path).getroot().iter("layer")
    marked = {one.get("type") for one in layers if one.find("rt_info/attribute[@name='precise']") is not None}
    assert marked == {"Exp"}
    compiled = _core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(np.ones((2, 4), np.float32))[0], np.exp(4), rtol=1e-5)


def test_matrices_are_stored_in_half_and_the_weights_of_heads_are_not(tmp_path):
    openvino = pytest.importorskip("openvino")
    ops = pytest.importorskip("openvino.opset13")
    x = ops.parameter([1, 2, 4, 4], np.float32)
    matrix, kernel = np.full((4, 4), 1 / 3, np.float32), np.full((1, 2, 1, 1), 1 / 3, np.float32)
    product = ops.matmul(x, ops.constant(matrix), False, False)
    result = ops.convolution(product, ops.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
    model, path = openvino.Model([result], [x]), tmp_path / "net.xml"
    _halve_matrices(model)
    openvino.save_model(model, path, compress_to_fp16=False)
    constants = [one for one in ET.parse(path).getroot().iter("layer") if one.get("type") == "Const"]
    types = {one.find("data").get("shape"): one.find("data").get("element_type") for one in constants}
    assert (types["4, 4"], types["1, 2, 1, 1"]) == ("f16", "f32")
    compiled = _core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(np.ones((1, 2, 4, 4), np.float32))[0]
    np.testing.assert_allclose(found, 4 * np.float32(np.float16(1 / 3)) * 2 / 3, rtol=1e-6)
