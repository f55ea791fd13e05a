"""`Gaussians`: the 3D Gaussians of one or more scenes."""

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
            do not bring them to metres.
        scales: `(B, G, 3)` float32 standard deviations along the Gaussian's own axes, in the same unit.
        rotations: `(B, G, 4)` float32 unit quaternions. As in the authors' implementation, those who render or write
            them read the four numbers as (w, x, y, z).
        harmonics: `(B, G, 3, 9)` float32: per colour channel the coefficients of real spherical harmonics of degree
            2, in world directions.
        opacities: `(B, G)` float32, 0 to 1.
    """

    means: Tensor
    scales: Tensor
    rotations: Tensor
    harmonics: Tensor
    opacities: Tensor

    def to(self, device: torch.device | str) -> Gaussians:
        """The same on another device."""
        return Gaussians(*(tensor.to(device) for tensor in self._tensors()))

    def scene(self, index: int) -> Gaussians:
        """Those of one scene; the first axis stays, with length 1."""
        return Gaussians(*(tensor[index].unsqueeze(0) for tensor in self._tensors()))

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]

    def __repr__(self) -> str:
        shapes = (f"{field.name}={list(getattr(self, field.name).shape)}" for field in fields(self))
        return f"Gaussians({', '.join(shapes)})"
