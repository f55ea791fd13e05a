"""Exported files of a network that takes milliseconds: depth is a factor times the mean of red, green and blue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from depth_anything_3.exported.specification import (
    FOCAL,
    IMAGE,
    METADATA_KEY,
    Dynamic,
    GraphDtype,
    GraphInput,
    GraphMetadata,
    Output,
)

METADATA = GraphMetadata(
    model="da3mono-large",
    licence="Apache-2.0",
    depth_unit="relative",
    weights_sha256="0" * 64,
    size_hw=(28, 42),
    dynamic=Dynamic.ALL,
    views=1,
    dtype=GraphDtype.FLOAT32,
    input=GraphInput.NORMALIZED,
    outputs=(Output.DEPTH,),
)
METRIC = replace(METADATA, model="da3metric-large", depth_unit="metres", takes_focal=True)
LEVELS = replace(METADATA, input=GraphInput.UINT8)
STATIC = replace(METADATA, dynamic=Dynamic.NONE)
SCENES = replace(METADATA, model="da3-small", views=2)


class MeanNetwork(nn.Module):
    """The same as a network of torch."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def check_options(self, **options: object) -> None:
        """Accept all options."""

    def forward(self, x: torch.Tensor, *_: object, **options: object) -> dict[str, torch.Tensor]:
        """Map (B, S, 3, H, W) to depth (B, S, H, W)."""
        return {"depth": self.factor * x.mean(dim=2)}


def write_ir(path: Path, metadata: GraphMetadata | None = METADATA, factor: float = 2.0) -> Path:
    """Write an OpenVINO file, `path` and its .bin; without metadata, one that another program might have written."""
    import openvino
    from openvino import opset13 as op

    described = metadata or METADATA
    size = described.size_hw if described.dynamic is Dynamic.NONE else (-1, -1)
    front = [1 if described.dynamic is Dynamic.NONE else -1, *([described.views] if described.has_views_axis else [])]
    if described.input is GraphInput.UINT8:
        image = op.parameter([*front, *size, 3], np.uint8, name=IMAGE)
        channels = -1
    else:
        image = op.parameter([*front, 3, *size], np.float32, name=IMAGE)
        channels = -3
    mean = op.reduce_mean(op.convert(image, "f32"), op.constant(np.array([channels])), False)
    depth, inputs = op.multiply(mean, op.constant(np.float32(factor))), [image]
    if described.takes_focal:
        focal = op.parameter([-1], np.float32, name=FOCAL)
        scale = op.unsqueeze(op.divide(focal, op.constant(np.float32(300))), op.constant(np.array([1, 2])))
        depth, inputs = op.multiply(depth, scale), [image, focal]
    for one in inputs:
        one.output(0).set_names({one.get_friendly_name()})
    model = openvino.Model([op.result(depth)], inputs)
    if metadata is not None:
        model.set_rt_info(metadata.to_json(), [METADATA_KEY])
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def write_onnx(path: Path, metadata: GraphMetadata | None = METADATA) -> Path:
    """Write an ONNX file for normalised images with dynamic sizes; its factor is 1."""
    import onnx
    from onnx import TensorProto, helper

    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    image = helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["batch", 3, "height", "width"])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["batch", "height", "width"])
    mean = helper.make_node("ReduceMean", [IMAGE, "axes"], ["depth"], keepdims=0)
    graph = helper.make_graph([mean], "mean", [image], [depth], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if metadata is not None:
        model.metadata_props.add(key=METADATA_KEY, value=metadata.to_json())
    onnx.save(model, path)
    return path


class _Mean(nn.Module):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (image.mean(dim=1),)


def write_pt2(path: Path, metadata: GraphMetadata | None = METADATA) -> Path:
    """Write a pt2 file for one size; its factor is 1."""
    program = torch.export.export(_Mean(), (torch.zeros(2, 3, 28, 42),))
    extra = {} if metadata is None else {METADATA_KEY: metadata.to_json()}
    torch.export.save(program, path, extra_files=extra)
    return path
