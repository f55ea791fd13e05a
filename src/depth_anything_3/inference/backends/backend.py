"""What the engine needs of the thing that computes its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch

from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.runtime.option_values import StringEnum

__all__ = ["Backend", "BackendName", "BackendNameText"]

BackendNameText = Literal["torch", "openvino", "onnxruntime", "auto"]
"""The names that `BackendName` accepts."""


class BackendName(StringEnum):
    """What computes the network."""

    TORCH = "torch"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    AUTO = "auto"
    """OpenVINO on a CPU, where it is installed and gives the results of torch; else torch."""


class Backend(Protocol):
    """Computes a network.

    Attributes:
        device: where the images are prepared, and the results are.
        dtype: dtype of the backbone's computation.
        process_res: length of the longer side that it takes; None: any.
    """

    @property
    def device(self) -> torch.device:
        """See above."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """See above."""
        ...

    @property
    def process_res(self) -> int | None:
        """See above."""
        ...

    def check(self, options: NetworkOptions, *, has_poses: bool = False) -> None:
        """Check that the options are supported, before anything is read.

        Raises:
            InvalidInputError: an option is not accepted.
            UnsupportedError: the model or the backend does not support an option.
        """
        ...

    def check_views(self, count: int) -> None:
        """Check that scenes of this number of views are supported, before anything is read.

        Raises:
            UnsupportedError: they are not.
        """
        ...

    def prepare(self, options: NetworkOptions, *, views: int = 1) -> None:
        """Get ready for a run with scenes of so many views; called in the caller's thread, once a run."""
        ...

    def name_for(self, options: NetworkOptions) -> str:
        """Return the name of what computes with these options, for manifests: "torch", "openvino"."""
        ...

    def weights_digest(self) -> str:
        """Return a digest that differs between weights, for manifests."""
        ...

    def __call__(self, x: torch.Tensor, **forward: Any) -> Mapping[str, Any]:  # Any: see `DepthAnything3Net.forward`
        """Compute (B, S, 3, H, W) float images; the result is the input of `OutputProcessor`."""
        ...
