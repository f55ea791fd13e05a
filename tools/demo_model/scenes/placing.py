"""Place parts of objects, and draw the colours of vegetation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from scenes.scene import Colour, SceneBuilder
from scenes.solids import yaw_rotation

__all__ = ["Place", "any_turn", "leaf_tint", "part"]

Array = npt.NDArray[np.float64]
Place = Callable[[SceneBuilder, Array, float], None]
"""Puts a thing into a scene: where it stands, and its yaw in radians."""

_LEAF_TINTS: tuple[tuple[Colour, float], ...] = (
    ((0.45, 0.62, 0.28), 0.35),
    ((0.35, 0.5, 0.25), 0.3),
    ((0.6, 0.65, 0.3), 0.15),
    ((0.7, 0.45, 0.2), 0.07),
    ((0.5, 0.55, 0.4), 0.13),
)


def leaf_tint(b: SceneBuilder) -> Colour:
    """Draw a colour of leaves: mostly greens, some autumn colours."""
    tints, shares = zip(*_LEAF_TINTS, strict=True)
    return b.near(tints[int(b.rng.choice(len(tints), p=shares))], 0.2)


def part(at: Array, yaw: float, offset: tuple[float, float, float]) -> Array:
    """Convert a position in an object's own frame to the world."""
    return np.asarray(at + yaw_rotation(yaw) @ np.array(offset))


def any_turn(b: SceneBuilder) -> Array:
    """Draw a random orientation (3, 3)."""
    q, _ = np.linalg.qr(b.rng.normal(size=(3, 3)))
    return np.asarray(q)
