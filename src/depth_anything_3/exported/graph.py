"""The module that is exported: a network with named inputs and outputs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.specification import (
    MEAN,
    STD,
    ExportSpecification,
    GraphDtype,
    GraphInput,
    ModelFormat,
    Output,
)
from depth_anything_3.model.backbone import Backbone
from depth_anything_3.model.blocks import Attention
from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX, DepthKind, ModelCard
from depth_anything_3.model.precision import convert_matrices

__all__ = ["ExportedNetwork", "model_outputs", "prepared_copy", "selected_outputs", "takes_focal"]

_KEYS = {
    Output.DEPTH: "depth",
    Output.CONF: "depth_conf",
    Output.SKY: "sky",
    Output.EXTRINSICS: "extrinsics",
    Output.INTRINSICS: "intrinsics",
}


def model_outputs(card: ModelCard) -> tuple[Output, ...]:
    """Return all outputs of a model, in the order of a graph."""
    if card.has_poses:
        return Output.DEPTH, Output.CONF, Output.EXTRINSICS, Output.INTRINSICS
    return Output.DEPTH, Output.SKY


def selected_outputs(card: ModelCard, specification: ExportSpecification) -> tuple[Output, ...]:
    """Return the outputs of a graph, without repetitions.

    Raises:
        UnsupportedError: the model lacks one, or takes one view and the specification has more.
    """
    known = model_outputs(card)
    unknown = [one.value for one in specification.outputs if one not in known]
    if unknown:
        raise UnsupportedError(
            f"outputs {', '.join(unknown)} of {card.name}, which has {', '.join(one.value for one in known)}; omit them"
        )
    if specification.has_views_axis and not card.has_poses:
        raise UnsupportedError(
            f"views={specification.views!r} with {card.name}, which computes each image on its own; "
            "export it with views=1 and a dynamic batch"
        )
    return tuple(dict.fromkeys(specification.outputs)) or known


def takes_focal(card: ModelCard, outputs: tuple[Output, ...]) -> bool:
    """Whether a graph has the input `FOCAL`: it returns depth of a model that predicts canonical depth."""
    return card.depth_kind is DepthKind.CANONICAL and Output.DEPTH in outputs


def prepared_copy(network: nn.Module, specification: ExportSpecification) -> nn.Module:
    """Return a copy of a network for export. It shares the weights that are the same, and may be changed.

    In half precision the matrices of its backbones are converted, so that files hold them in half. OpenVINO takes
    float32 graphs alone, see `openvino_file`.
    """
    network.state_dict()  # float32 again, if the backbone was converted
    twin = copy.deepcopy(network, {id(one): one for one in network.parameters()}).eval()
    if specification.dtype is GraphDtype.FLOAT32 or specification.format is ModelFormat.OPENVINO:
        return twin
    dtype = torch.float16 if specification.dtype is GraphDtype.FLOAT16 else torch.bfloat16
    for module in twin.modules():
        if isinstance(module, Backbone):
            convert_matrices(module, dtype)
        elif isinstance(module, Attention):
            module.strongly_typed = specification.format is ModelFormat.ONNX  # pt2 keeps torch's kernels
    return twin


class ExportedNetwork(nn.Module):
    """A network with the inputs and outputs of `exported.specification`, all float32 but for uint8 images.

    Args:
        network: the network of `card`.
        card: what it predicts.
        specification: what it is exported as.

    Raises:
        UnsupportedError: see `selected_outputs`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, card: ModelCard, specification: ExportSpecification) -> None:
        super().__init__()
        self.network = network
        self.outputs = selected_outputs(card, specification)
        self.takes_focal = takes_focal(card, self.outputs)
        self._is_uint8 = specification.input is GraphInput.UINT8
        self._has_views_axis = specification.has_views_axis
        if self._is_uint8:
            self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
            self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))

    def forward(self, image: Tensor, focal: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the outputs in the order of `outputs`; the inputs are `IMAGE` and, if it takes it, `FOCAL`."""
        if self._is_uint8:
            image = self._normalized(image)
        out = self.network(image if self._has_views_axis else image.unsqueeze(1))
        found = {one: out[_KEYS[one]] for one in self.outputs}
        if not self._has_views_axis:
            found = {one: value.squeeze(1) for one, value in found.items()}
        if focal is not None:
            found[Output.DEPTH] = found[Output.DEPTH] * (focal / CANONICAL_FOCAL_PX)[..., None, None]
        return tuple(found.values())

    def _normalized(self, image: Tensor) -> Tensor:
        # TensorRT takes 8-bit images into a cast alone, not into a transpose.
        pixels = image.to(torch.float32).movedim(-1, -3) / 255.0
        return (pixels - self.mean) / self.std
