"""Networks in other formats, run by the libraries that read them, and compared with torch."""

from __future__ import annotations

import numpy as np
import torch

from depth_anything_3.exported.runtimes.openvino import _core
from depth_anything_3.exported.specification import FOCAL, IMAGE, MEAN, STD, GraphInput, Output
from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX, DepthKind, ModelCard
from support.tiny_networks import TINY, TINY_METRIC, run

TINY_CARD = ModelCard(TINY, "Apache-2.0", DepthKind.RELATIVE)
TINY_METRIC_CARD = ModelCard(TINY_METRIC, "Apache-2.0", DepthKind.CANONICAL)

KEYS = {
    Output.DEPTH: "depth",
    Output.CONF: "depth_conf",
    Output.SKY: "sky",
    Output.EXTRINSICS: "extrinsics",
    Output.INTRINSICS: "intrinsics",
}


def pixels_of(batch, views, height, width, seed=7):
    """Smooth uint8 images, (B, V, H, W, 3)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch * views, 3, 4, 5, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return smooth.to(torch.uint8).movedim(1, -1).unflatten(0, (batch, views))


def graph_inputs(metadata, pixels, focal=None):
    """The inputs of a graph as arrays."""
    given = pixels if metadata.input is GraphInput.UINT8 else normalized(pixels)
    inputs = {IMAGE: given if metadata.has_views_axis else given[:, 0]}
    if metadata.takes_focal:
        inputs[FOCAL] = torch.full((len(pixels),), focal or CANONICAL_FOCAL_PX)
    return {name: value.numpy() for name, value in inputs.items()}


def normalized(pixels):
    scaled = pixels.movedim(-1, -3).float() / 255
    return (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def expected_outputs(network, metadata, pixels, focal=None):
    """What torch computes, as arrays in the order of the graph."""
    out = run(network, normalized(pixels))
    values = [out[KEYS[one]].numpy() for one in metadata.outputs]
    if metadata.takes_focal and focal is not None:
        values[metadata.outputs.index(Output.DEPTH)] *= focal / CANONICAL_FOCAL_PX
    return values if metadata.has_views_axis else [value[:, 0] for value in values]


def run_file(path, inputs):
    """The outputs of a file, by the library of its format."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.run(None, inputs)
    if path.suffix == ".pt2":
        module = torch.export.load(path).module(check_guards=False)  # sides of one patch fail torch's own guards
        with torch.no_grad():
            return [value.numpy() for value in module(*(torch.from_numpy(value) for value in inputs.values()))]
    compiled = _core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(dict(inputs))
    return [results[index] for index in range(len(results))]


def largest_error(found, expected):
    """The largest difference of each output, relative to its largest value; sky may be 0 everywhere."""
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-2) for a, b in zip(found, expected, strict=True))
