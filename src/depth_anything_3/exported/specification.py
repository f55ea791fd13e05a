"""What an exported network takes and returns, and the description that is stored in its file.

Importing this module imports no torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.model.catalog import PATCH_SIZE
from depth_anything_3.runtime.option_values import StringEnum, positive_int

__all__ = [
    "FOCAL",
    "IMAGE",
    "MEAN",
    "METADATA_KEY",
    "STD",
    "Dynamic",
    "ExportSpecification",
    "GraphDtype",
    "GraphInput",
    "GraphMetadata",
    "ModelFormat",
    "Output",
]

IMAGE = "image"
"""Name of the images, the first input. By `GraphInput`, without a views axis if the graph takes one view:

- normalised: (B, 3, H, W) or (B, V, 3, H, W) float32, ImageNet-normalised RGB;
- uint8: (B, H, W, 3) or (B, V, H, W, 3) uint8 RGB.
"""

FOCAL = "focal"
"""Name of the second input of graphs whose model predicts canonical depth: (B,) or (B, V) float32, the focal length in
pixels of the network's input. Their depth is in metres: canonical depth times focal / 300."""

METADATA_KEY = "depth_anything_3"
"""Name under which a file holds `GraphMetadata` as JSON."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ModelFormat(StringEnum):
    """Format of an exported network."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    PT2 = "pt2"


class Dynamic(StringEnum):
    """Which axes of the images may vary, besides those of `ExportSpecification.views`."""

    NONE = "none"
    BATCH = "batch"
    ALL = "all"
    """Batch, height and width; height and width are multiples of 14."""


class GraphInput(StringEnum):
    """What the images of an exported network are."""

    NORMALIZED = "normalised"
    UINT8 = "uint8"
    """The graph casts and normalises."""


class GraphDtype(StringEnum):
    """Dtype of the computation of the backbone; the heads, inputs and outputs are float32."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Output(StringEnum):
    """An output of an exported network; float32, (B, ...) or (B, V, ...) as the images."""

    DEPTH = "depth"
    """(..., H, W); in metres if the graph takes `FOCAL`, with filled sky if the model predicts sky."""
    CONF = "conf"
    """(..., H, W): confidence; any-view models."""
    SKY = "sky"
    """(..., H, W): 0.3 and more are sky; mono and metric models."""
    EXTRINSICS = "extrinsics"
    """(..., 3, 4): world to camera, OpenCV axes; any-view models."""
    INTRINSICS = "intrinsics"
    """(..., 3, 3) in pixels of the network's input; any-view models."""


@dataclass(frozen=True, kw_only=True)
class ExportSpecification:
    """What a network is exported as. Names are accepted as strings.

    Attributes:
        format: format of the file.
        size_hw: (height, width) of the images, multiples of 14; with `Dynamic.ALL`, the size that is traced.
        dynamic: which axes may vary.
        views: views of a scene; "dynamic": any number from 1 on. Mono and metric models take one.
        dtype: dtype of the backbone's computation.
        input: what the images are.
        outputs: what is returned; empty: all that the model predicts.

    Raises:
        InvalidInputError: a value is not accepted.
    """

    format: ModelFormat = ModelFormat.ONNX
    size_hw: tuple[int, int] = (280, 504)
    dynamic: Dynamic = Dynamic.NONE
    views: int | Literal["dynamic"] = 1
    dtype: GraphDtype = GraphDtype.FLOAT32
    input: GraphInput = GraphInput.NORMALIZED
    outputs: tuple[Output, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in (("format", ModelFormat), ("dynamic", Dynamic), ("dtype", GraphDtype), ("input", GraphInput)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        object.__setattr__(self, "outputs", tuple(Output(one) for one in self.outputs))
        if self.views != "dynamic":
            positive_int("views", self.views, hint="give a whole number, 1 or more, or 'dynamic'")
        height, width = self.size_hw
        if min(height, width) < PATCH_SIZE or height % PATCH_SIZE or width % PATCH_SIZE:
            raise InvalidInputError(
                f"size {height}x{width}: give height and width in multiples of {PATCH_SIZE}, such as 280x504"
            )

    @property
    def has_views_axis(self) -> bool:
        """Whether inputs and outputs have a views axis after the batch axis."""
        return self.views != 1


@dataclass(frozen=True, kw_only=True)
class GraphMetadata:
    """The description that an exported file holds.

    Attributes:
        model: name of the preset.
        licence: SPDX identifier of the licence of the weights.
        depth_unit: "relative" or "metres".
        weights_sha256: hash of the weights, see `weights_hash`.
        size_hw, dynamic, views, dtype, input, outputs: as in `ExportSpecification`; `outputs` in the graph's order.
        patch_size: height and width are multiples of it.
        mean, std: of the normalisation, per channel, for RGB from 0 to 1.
        takes_focal: whether the graph has the input `FOCAL`.
        versions: of this package and the libraries that wrote the file.
        reference: depth of the torch network for the bundled images, see `exported.reference.StoredReference`; empty:
            none is stored.
    """

    model: str
    licence: str
    depth_unit: Literal["relative", "metres"]
    weights_sha256: str
    size_hw: tuple[int, int]
    dynamic: Dynamic
    views: int | Literal["dynamic"]
    dtype: GraphDtype
    input: GraphInput
    outputs: tuple[Output, ...]
    patch_size: int = PATCH_SIZE
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    takes_focal: bool = False
    versions: tuple[tuple[str, str], ...] = ()
    reference: str = ""

    @property
    def has_views_axis(self) -> bool:
        """Whether inputs and outputs have a views axis after the batch axis."""
        return self.views != 1

    @property
    def process_res(self) -> int | None:
        """The longer side of the only size that the file takes, in pixels; None if it takes any."""
        return None if self.dynamic is Dynamic.ALL else max(self.size_hw)

    def to_json(self) -> str:
        """Return the text that is stored in a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> GraphMetadata:
        """Read the text of a file.

        Raises:
            InvalidInputError: it is not what `to_json` writes.
        """
        try:
            found = json.loads(text)
            given = {one.name: found[one.name] for one in fields(cls)}
            for name in ("size_hw", "mean", "std"):
                given[name] = tuple(given[name])
            given["dynamic"], given["dtype"] = Dynamic(given["dynamic"]), GraphDtype(given["dtype"])
            given["input"], given["outputs"] = GraphInput(given["input"]), tuple(map(Output, given["outputs"]))
            given["versions"] = tuple((name, version) for name, version in given["versions"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"description of an exported model that cannot be read ({error})") from None
        return cls(**given)
