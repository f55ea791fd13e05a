"""Compute a network with torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.model.network import use_matrix_dtype
from depth_anything_3.runtime.device_errors import out_of_memory, translate_device_errors
from depth_anything_3.runtime.devices import low_precision

__all__ = ["TorchBackend"]

_SAMPLES = 16  # values of each parameter
_DIGITS = 16


@dataclass(frozen=True, eq=False)
class TorchBackend:
    """A network of torch; a `Backend`.

    Attributes:
        network: maps (B, S, 3, H, W) to the input of `OutputProcessor`.
        dtype: dtype of the backbone's computation.
    """

    network: nn.Module
    dtype: torch.dtype
    process_res: int | None = None

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.network.parameters()).device

    def check(self, options: NetworkOptions, *, has_poses: bool = False) -> None:
        """Check the options; see `Backend.check`."""
        self.network.check_options(  # type: ignore[operator]
            has_poses=has_poses,
            export_feat_layers=options.export_feat_layers,
            infer_gs=options.infer_gs,
            ref_view_strategy=options.ref_view_strategy,
        )

    def check_views(self, count: int) -> None:
        """Accept any number of views."""

    def prepare(self, options: NetworkOptions, *, views: int = 1) -> None:
        """Convert the matrices to the dtype of their computation.

        Once for each run: a caller may read the weights between its results.
        """
        with translate_device_errors(self.device):
            use_matrix_dtype(self.network, self.dtype)

    def name_for(self, options: NetworkOptions) -> str:
        """Return the name of the backend."""
        return "torch"

    def weights_digest(self) -> str:
        """Return a digest of evenly spaced values of each parameter; fine-tuned weights have another one."""
        samples = []
        with torch.inference_mode():
            for _, parameter in sorted(self.network.named_parameters()):
                flat = parameter.detach().reshape(-1)
                samples.append(flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES].float())
            together = torch.cat(samples).cpu().numpy()
        return hashlib.sha256(together.tobytes()).hexdigest()[:_DIGITS]

    def __call__(self, x: torch.Tensor, **forward: Any) -> Mapping[str, Any]:  # Any: see `Backend`
        """Compute (B, S, 3, H, W) images on the device of the weights."""
        try:
            with low_precision(self.device, self.dtype):
                outputs: Mapping[str, Any] = self.network(x, **forward)
        except Exception as error:
            if out_of_memory(error) or type(error).__module__.split(".")[:2] not in (
                ["torch", "_dynamo"],
                ["torch", "_inductor"],
            ):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise UnsupportedError(
                f"torch.compile failed on this machine ({reason}); run without `model.compile()`"
            ) from error
        return outputs
