"""Compute an exported network."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import CheckpointFormatError, ShapeMismatchError, UnsupportedError
from depth_anything_3.exported.runtimes.runtime import GraphRuntime
from depth_anything_3.exported.specification import FOCAL, IMAGE, Dynamic, GraphDtype, GraphInput, Output
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX, DepthKind, ModelCard
from depth_anything_3.model.choices import RefViewStrategy

__all__ = ["GRAPH_DTYPES", "GraphBackend", "unsupported_option"]

_NAMES = {
    Output.DEPTH: "depth",
    Output.CONF: "depth_conf",
    Output.SKY: "sky",
    Output.EXTRINSICS: "extrinsics",
    Output.INTRINSICS: "intrinsics",
}
GRAPH_DTYPES = {
    torch.float32: GraphDtype.FLOAT32,
    torch.float16: GraphDtype.FLOAT16,
    torch.bfloat16: GraphDtype.BFLOAT16,
}
"""The name of each dtype of computation in exported files."""
_DTYPES = {name: dtype for dtype, name in GRAPH_DTYPES.items()}
_CAMERAS = ("extrinsics", "intrinsics")
_HINT = "use DepthAnything3.from_pretrained(..., backend='torch')"


def unsupported_option(options: NetworkOptions, *, has_poses: bool = False) -> str | None:
    """Return which option exported networks do not support; None if they support all."""
    if has_poses:
        return "given poses"
    if options.infer_gs:
        return "infer_gs=True"
    if options.use_ray_pose:
        return "use_ray_pose=True"
    if options.export_feat_layers:
        return f"export_feat_layers={list(options.export_feat_layers)}"
    if options.ref_view_strategy is not RefViewStrategy.SADDLE_BALANCED:
        return f"ref_view_strategy={options.ref_view_strategy.value!r}"
    return None


class GraphBackend:
    """An exported network; a `Backend`.

    Images are prepared on the CPU, in float32; the library moves them where it computes.

    Args:
        graph: the opened file.
        card: catalog entry of its model.

    Raises:
        CheckpointFormatError: the file has no depth.
        UnsupportedError: its model is the nested one, whose files do not say which scenes are metric.
    """

    device = torch.device("cpu")

    def __init__(self, graph: GraphRuntime, card: ModelCard) -> None:
        metadata = graph.metadata
        if Output.DEPTH not in metadata.outputs:
            raise CheckpointFormatError(f"this export of {card.name} has no output 'depth'; export it with that output")
        if card.depth_kind is DepthKind.METRIC:
            raise UnsupportedError(
                f"an export of {card.name} does not say which scenes could be scaled to metres; {_HINT}"
            )
        self._graph = graph
        self._metadata = metadata
        self._card = card
        self._lock = threading.Lock()
        self.dtype = _DTYPES[metadata.dtype]
        self.process_res = metadata.process_res

    def check(self, options: NetworkOptions, *, has_poses: bool = False) -> None:
        """Check the options; see `Backend.check`."""
        unsupported = unsupported_option(options, has_poses=has_poses)
        if unsupported:
            raise UnsupportedError(f"{unsupported}: an exported network does not support it; {_HINT}")

    def check_views(self, count: int) -> None:
        """Check the number of views; see `Backend.check_views`."""
        views = self._metadata.views
        if views == "dynamic" or count == views or not self._card.has_poses:
            return
        raise UnsupportedError(
            f"{count} view{'s' * (count != 1)} of a scene: this export of {self._card.name} takes {views}; export it "
            f"with views='dynamic', {'compute unrelated images with `depth`, ' if views == 1 else ''}or {_HINT}"
        )

    def prepare(self, options: NetworkOptions, *, views: int = 1) -> None:
        """Check the number of views."""
        self.check_views(views)

    def name_for(self, options: NetworkOptions) -> str:
        """Return the library's name."""
        return self._graph.name.value

    def weights_digest(self) -> str:
        """Return the beginning of the hash in the file."""
        return self._metadata.weights_sha256[:16]

    def close(self) -> None:
        """Close the file."""
        self._graph.close()

    def __call__(self, x: torch.Tensor, **forward: Any) -> Mapping[str, Any]:  # Any: see `Backend`
        """Compute (B, S, 3, H, W) images.

        Raises:
            UnsupportedError: an option or the number of views is not supported.
            ShapeMismatchError: the file takes images of another size.
        """
        options = NetworkOptions(**{name: one for name, one in forward.items() if name not in _CAMERAS})
        self.check(options, has_poses=forward.get("extrinsics") is not None)
        batch, views, _, height, width = x.shape
        self.check_views(views)
        self._check_size(height, width)
        images = x.detach().to("cpu", torch.float32).numpy()
        if not self._metadata.has_views_axis:
            images = images.reshape(batch * views, *images.shape[2:])
        if self._metadata.input is GraphInput.UINT8:
            images = self._to_levels(images)
        each = 1 if self._metadata.dynamic is Dynamic.NONE else len(images)
        parts = [self._run(images[start : start + each]) for start in range(0, len(images), each)]
        return {
            _NAMES[name]: torch.from_numpy(
                (parts[0][name] if len(parts) == 1 else np.concatenate([one[name] for one in parts])).reshape(
                    batch, views, *parts[0][name].shape[1 + self._metadata.has_views_axis :]
                )
            )
            for name in map(Output, parts[0])
        }

    def _run(self, images: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        inputs = {IMAGE: images}
        if self._metadata.takes_focal:  # so that depth stays canonical, as torch's
            shape = images.shape[: 1 + self._metadata.has_views_axis]
            inputs[FOCAL] = np.full(shape, CANONICAL_FOCAL_PX, np.float32)
        with self._lock:  # two runs may share the engine
            return self._graph.run(inputs)

    def _check_size(self, height: int, width: int) -> None:
        if self._metadata.dynamic is Dynamic.ALL or (height, width) == tuple(self._metadata.size_hw):
            return
        rows, cols = self._metadata.size_hw
        raise ShapeMismatchError(
            f"an image of {width}x{height} (width x height): this export of {self._card.name} takes {cols}x{rows}; "
            f"give images of that aspect ratio, with process_res={max(rows, cols)}, or export it with dynamic='all'"
        )

    def _to_levels(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Undo the normalisation of (..., 3, H, W), exactly; return (..., H, W, 3) uint8."""
        mean, std = (np.asarray(one, np.float32)[:, None, None] for one in (self._metadata.mean, self._metadata.std))
        levels = np.rint((images * std + mean) * np.float32(255)).clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.moveaxis(levels, -3, -1))
