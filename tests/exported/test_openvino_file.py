"""Files of OpenVINO: what stays float32 when they compute in bfloat16."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from depth_anything_3.exported.openvino_file import _mark_float32
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
