"""Store the solids of scenes as tensors for ray casting.

Every solid is convex and is the image of a unit shape under an affine map. Two formulas intersect all of them with
rays: a box is an intersection of three slabs, and a quadric (ellipsoid, cylinder, half ellipsoid) is an intersection of
a unit quadric with one slab along its axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Look", "SolidList", "Solids", "stack_solids", "yaw_rotation"]

Array = npt.NDArray[np.float64]

FAR_AWAY = -1e3  # where padding lies: behind every camera
_NEVER_REACHED = 4.0  # a slab in local units that does not cut a unit quadric


@dataclass(frozen=True)
class Look:
    """How a surface looks.

    Attributes:
        page: Page of the texture atlas.
        repeat_m: Side of one repeat of the texture in metres.
        tint: RGB reflectance that the texture's values multiply, 0..1.
        gloss: Strength of the highlight, 0..1.
        glow: Light given off, in units of a white surface in full light.
    """

    page: int
    repeat_m: float
    tint: tuple[float, float, float]
    gloss: float = 0.0
    glow: float = 0.0


@dataclass
class SolidList:
    """Solids of one kind while a layout is being made; world frame: x right, y up, z ahead, metres."""

    centre: list[Array] = field(default_factory=list)
    half: list[Array] = field(default_factory=list)
    rotation: list[Array] = field(default_factory=list)
    slab: list[tuple[float, float]] = field(default_factory=list)
    round_z: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    structural: list[bool] = field(default_factory=list)

    def add(
        self,
        centre: Sequence[float] | Array,
        half: Sequence[float] | Array,
        look: Look,
        rotation: Array | None = None,
        *,
        slab: tuple[float, float] = (-_NEVER_REACHED, _NEVER_REACHED),
        round_z: bool = True,
        structural: bool = False,
    ) -> None:
        """Add a solid.

        Args:
            centre: World position (3) in metres.
            half: Half extents (3) along its own axes in metres.
            look: Its surface.
            rotation: (3, 3), the columns are its axes in the world; None for the world's.
            slab: Range along its third axis, in half extents. Quadrics only.
            round_z: Whether it is an ellipsoid; else a cylinder about its third axis. Quadrics only.
            structural: Whether it stays even if the camera is close to it (ground, walls).
        """
        self.centre.append(np.asarray(centre, float))
        self.half.append(np.maximum(np.asarray(half, float), 1e-3))
        self.rotation.append(np.eye(3) if rotation is None else rotation)
        self.slab.append(slab)
        self.round_z.append(float(round_z))
        self.looks.append(look)
        self.structural.append(structural)

    def drop_near(self, point: Array, distance: float) -> None:
        """Remove what comes nearer to `point` than `distance`, except what is structural."""
        if not self.centre:
            return
        local = np.einsum("kji,kj->ki", np.stack(self.rotation), point - np.stack(self.centre))
        gap = np.linalg.norm(np.maximum(np.abs(local) - np.stack(self.half), 0.0), axis=1)
        keep = [i for i in range(len(gap)) if self.structural[i] or gap[i] > distance]
        for item in fields(self):
            values = getattr(self, item.name)
            setattr(self, item.name, [values[i] for i in keep])


@dataclass(frozen=True)
class Solids:
    """Solids of one kind of a batch of scenes, camera frame (x right, y down, z forward), float32.

    Attributes:
        to_local: `(B, K, 3, 3)` from camera axes to the unit shape's.
        centre: `(B, K, 3)` metres.
        half: `(B, K, 3)` half extents in metres.
        slab: `(B, K, 2)` limits along the third local axis, in half extents.
        round_z: `(B, K)` 1 for ellipsoids, 0 for cylinders.
        look: `(B, K, 7)` page, repeat_m, tint (3), gloss, glow.
    """

    to_local: Tensor
    centre: Tensor
    half: Tensor
    slab: Tensor
    round_z: Tensor
    look: Tensor

    @property
    def count(self) -> int:
        """K."""
        return self.centre.shape[1]

    @property
    def radius(self) -> Tensor:
        """`(B, K)` radius of a sphere about the centre that holds the solid."""
        radius: Tensor = torch.linalg.vector_norm(self.half, dim=-1)
        return radius

    def to(self, device: torch.device) -> Solids:
        """The same on another device."""
        return Solids(*(getattr(self, item.name).to(device) for item in fields(self)))


def stack_solids(lists: Sequence[SolidList], views: Sequence[tuple[Array, Array]]) -> Solids:
    """Bring the solids of several scenes into their cameras' frames and pad them to one count.

    Args:
        lists: One list a scene.
        views: One (rotation (3, 3) from world to camera axes, camera position (3)) a scene.
    """
    count = max(1, *(len(one.centre) for one in lists))
    batch = len(lists)
    to_local = np.tile(np.eye(3), (batch, count, 1, 1))
    centre = np.tile(np.array([0.0, 0.0, FAR_AWAY]), (batch, count, 1))
    half = np.full((batch, count, 3), 1e-2)
    slab = np.tile(np.array([-_NEVER_REACHED, _NEVER_REACHED]), (batch, count, 1))
    round_z = np.ones((batch, count))
    look = np.zeros((batch, count, 7))
    look[..., 1] = 1.0
    for row, (one, (rotation, position)) in enumerate(zip(lists, views, strict=True)):
        n = len(one.centre)
        if not n:
            continue
        extents, axes = np.stack(one.half), np.stack(one.rotation)
        centre[row, :n] = (np.stack(one.centre) - position) @ rotation.T
        to_local[row, :n] = np.einsum("kji,lj->kil", axes, rotation) / extents[:, :, None]
        half[row, :n] = extents
        slab[row, :n] = one.slab
        round_z[row, :n] = one.round_z
        look[row, :n] = [(s.page, s.repeat_m, *s.tint, s.gloss, s.glow) for s in one.looks]
    return Solids(*(torch.from_numpy(a.astype(np.float32)) for a in (to_local, centre, half, slab, round_z, look)))


def yaw_rotation(yaw: float) -> Array:
    """Axes of a solid turned about the vertical; radians, from z ahead towards x right."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
