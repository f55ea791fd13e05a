"""`Gaussians`, the 3D Gaussians of one or more scenes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Gaussians"]


@dataclass(frozen=True, eq=False)
class Gaussians:
    """One Gaussian per pixel, G = S * H * W of them in a scene: view after view, row after row.

    Attributes:
        means: `(B, G, 3)` float32 centres in world coordinates, in the unit of the predicted poses. Nested models
            do not scale them to metric units.
        scales: `(B, G, 3)` float32 standard deviations along the Gaussian's own axes, in the same unit.
        rotations: `(B, G, 4)` float32 unit quaternions. As in upstream, renderers and writers interpret the four
            numbers as (w, x, y, z).
        harmonics: `(B, G, 3, 9)` float32: for each colour channel the coefficients of real spherical harmonics up to
            degree 2, in world directions.
        opacities: `(B, G)` float32, 0 to 1.
        extrinsics: `(B, S, 3, 4)` float32 world-to-camera poses, OpenCV axes, of the views in the frame and unit of the
            Gaussians. A prediction's own extrinsics differ if it is metric or aligned to given poses. None if unknown.
        intrinsics: `(B, S, 3, 3)` float32 of the same cameras, in pixels of the network's input.
    """

    means: Tensor
    scales: Tensor
    rotations: Tensor
    harmonics: Tensor
    opacities: Tensor
    extrinsics: Tensor | None = None
    intrinsics: Tensor | None = None

    def to(self, device: torch.device | str) -> Gaussians:
        """Move the tensors to another device."""
        return Gaussians(**{name: tensor.to(device) for name, tensor in self._tensors().items()})

    def scene(self, index: int) -> Gaussians:
        """Return the Gaussians of one scene, with a first axis of length 1."""
        return Gaussians(**{name: tensor[index].unsqueeze(0) for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def __repr__(self) -> str:
        shapes = (f"{name}={list(tensor.shape)}" for name, tensor in self._tensors().items())
        return f"Gaussians({', '.join(shapes)})"
