"""Results that an exported network must reproduce: of its torch network, or stored in its file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.exported.specification import GraphMetadata, Output
from depth_anything_3.exported.verification_inputs import GraphInputs, GraphShape, corners
from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX, DepthKind, ModelCard
from depth_anything_3.model.network import use_matrix_dtype
from depth_anything_3.runtime.devices import low_precision

__all__ = ["NetworkReference", "Reference", "StoredReference", "store_reference"]

_KEYS = {
    Output.DEPTH: "depth",
    Output.CONF: "depth_conf",
    Output.SKY: "sky",
    Output.EXTRINSICS: "extrinsics",
    Output.INTRINSICS: "intrinsics",
}
_CELLS = 32  # of the stored depth, along each side

Array = npt.NDArray[np.float32]


class Reference(Protocol):
    """What an exported network is compared with.

    Attributes:
        description: what it is, for messages.
        is_complete: whether it has every value of the outputs.
    """

    description: str
    is_complete: bool

    def is_of(self, inputs: GraphInputs) -> bool:
        """Return whether its results are of exactly these images."""
        ...

    def shapes(self, metadata: GraphMetadata) -> tuple[GraphShape, ...]:
        """List the shapes to compare at."""
        ...

    def outputs(self, inputs: GraphInputs) -> Mapping[Output, Array]:
        """Return the expected outputs, (B, V, ...) float32."""
        ...

    def comparable(self, output: Output, value: Array) -> Array:
        """Convert an output of the graph, (B, V, ...), to what `outputs` returns."""
        ...


class NetworkReference:
    """The torch network in float32.

    Args:
        network: maps (B, V, 3, H, W) to a mapping of tensors.
        card: catalog entry of its model.
    """

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        self.is_complete = True
        self.description = f"{card.name} in torch, float32"
        self._network = network
        self._is_canonical = card.depth_kind is DepthKind.CANONICAL

    def is_of(self, inputs: GraphInputs) -> bool:
        """Return True: results are computed of the images."""
        return True

    def shapes(self, metadata: GraphMetadata) -> tuple[GraphShape, ...]:
        """List the corners of the ranges of the graph."""
        return corners(metadata)

    def outputs(self, inputs: GraphInputs) -> dict[Output, Array]:
        """Run the network. Canonical depth is converted to metres."""
        device = next(self._network.parameters()).device
        use_matrix_dtype(self._network, torch.float32)
        with (
            torch.inference_mode(),
            low_precision(device, torch.float32),
            torch.backends.cudnn.flags(allow_tf32=False),
        ):
            # Not through __call__: a compiled network would be compiled again for every shape.
            result = self._network.forward(torch.from_numpy(inputs.normalized()).to(device))
        found = {one: result[key].float().cpu().numpy() for one, key in _KEYS.items() if key in result}
        if self._is_canonical:
            found[Output.DEPTH] = found[Output.DEPTH] * (inputs.focal_px / CANONICAL_FOCAL_PX)[..., None, None]
        return found

    def comparable(self, output: Output, value: Array) -> Array:
        """Return the value."""
        return value


@dataclass(eq=False)
class StoredReference:
    """Mean depth of up to 32 x 32 cells, stored when the network was exported.

    Attributes:
        shape: of the images.
        pixels_sha256: hash of the images; decoders of JPEGs may differ by a level.
        depth: (B, V, rows, columns) float32.
    """

    shape: GraphShape
    pixels_sha256: str
    depth: Array
    description: str = "results stored in the file"
    is_complete: bool = False

    def is_of(self, inputs: GraphInputs) -> bool:
        """Return whether the images have the stored hash."""
        return _hash(inputs) == self.pixels_sha256

    def shapes(self, metadata: GraphMetadata) -> tuple[GraphShape, ...]:
        """Return the shape of the stored results."""
        return (self.shape,)

    def outputs(self, inputs: GraphInputs) -> dict[Output, Array]:
        """Return the stored depth."""
        return {Output.DEPTH: self.depth}

    def comparable(self, output: Output, value: Array) -> Array:
        """Return the means of the cells."""
        return _cell_means(value)

    @classmethod
    def from_text(cls, text: str) -> StoredReference:
        """Read what `store_reference` returned.

        Raises:
            InvalidInputError: it is something else.
        """
        try:
            found: dict[str, Any] = json.loads(text)  # Any: JSON values
            height, width = found["size_hw"]
            depth = np.frombuffer(base64.b64decode(found["depth"]), "<f4").reshape(found["depth_shape"])
            shape = GraphShape((height, width), found["batch"], found["views"])
            return cls(shape, found["pixels_sha256"], depth)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"stored results that cannot be read ({error}); pass model_dir") from None


def store_reference(reference: Reference, inputs: GraphInputs) -> str:
    """Compute the depth of images and return it, averaged in cells, as text for a file; see `StoredReference`."""
    depth = _cell_means(reference.outputs(inputs)[Output.DEPTH])
    shape = inputs.shape
    return json.dumps(
        {
            "size_hw": shape.size_hw,
            "batch": shape.batch,
            "views": shape.views,
            "pixels_sha256": _hash(inputs),
            "depth_shape": depth.shape,
            "depth": base64.b64encode(depth.astype("<f4").tobytes()).decode("ascii"),
        }
    )


def _hash(inputs: GraphInputs) -> str:
    return hashlib.sha256(inputs.pixels.tobytes()).hexdigest()


def _cell_means(depth: Array) -> Array:
    """Average (..., H, W) in cells, up to 32 along each side."""
    height, width = depth.shape[-2:]
    rows, columns = min(_CELLS, height), min(_CELLS, width)
    images = depth.reshape(-1, height, width)
    means = [cv2.resize(one, (columns, rows), interpolation=cv2.INTER_AREA) for one in images]
    return np.stack(means).astype(np.float32).reshape(*depth.shape[:-2], rows, columns)
