"""Describe a scene: solids, camera, light and sky, in metres; world axes x right, y up, z ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from scenes.solids import Look, SolidList

__all__ = ["UPRIGHT", "Colour", "Scene", "SceneBuilder", "Vector", "colour_of", "moved"]

Array = npt.NDArray[np.float64]
Colour = tuple[float, float, float]
Vector = Array | Sequence[float]


def colour_of(values: Array) -> Colour:
    """Three numbers as a colour."""
    r, g, b = (float(v) for v in values)
    return r, g, b


def moved(point: Vector, right: float, up: float, ahead: float) -> Array:
    """Move a point by some metres along the world's axes."""
    return np.add(point, (right, up, ahead))


@dataclass
class Scene:
    """Everything but the pixels.

    Attributes:
        boxes: Boxes.
        quadrics: Ellipsoids, half ellipsoids and cylinders.
        eye: Camera position.
        yaw: Radians, from z ahead towards x right.
        pitch: Radians, upwards.
        roll: Radians.
        fov: Field of view along the longer side in radians.
        light: Position of the sun (far away) or the main lamp.
        light_colour: Its light on a surface that faces it.
        ambient: Light from above where nothing blocks it.
        bounce: Light from below.
        haze: Distance in metres at which 63 % of the contrast is lost.
        horizon: Colour of the sky there, and of the haze.
        zenith: Colour of the sky above.
        clouds: Page of the clouds and how opaque they are, 0..1.
    """

    boxes: SolidList = field(default_factory=SolidList)
    quadrics: SolidList = field(default_factory=SolidList)
    eye: Array = field(default_factory=lambda: np.array([0.0, 1.6, 0.0]))
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    fov: float = 1.0
    light: Array = field(default_factory=lambda: np.array([40.0, 90.0, -40.0]))
    light_colour: Colour = (2.4, 2.3, 2.1)
    ambient: Colour = (0.5, 0.6, 0.75)
    bounce: Colour = (0.2, 0.2, 0.18)
    haze: float = 400.0
    horizon: Colour = (0.8, 0.87, 0.95)
    zenith: Colour = (0.3, 0.5, 0.85)
    clouds: tuple[int, float] = (0, 0.5)

    def view_rotation(self) -> Array:
        """(3, 3) from world axes to the camera's (x right, y down, z forward); it mirrors, as the world's y is up."""
        cy, sy = np.cos(self.yaw), np.sin(self.yaw)
        cp, sp = np.cos(self.pitch), np.sin(self.pitch)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        forward = np.array([sy * cp, sp, cy * cp])
        right = np.array([cy, 0.0, -sy])
        down = -np.array([-sy * sp, cp, -cy * sp])
        return np.stack([cr * right + sr * down, -sr * right + cr * down, forward])


class SceneBuilder:
    """A scene in the making: random draws, looks by family name, and the solids every layout needs."""

    def __init__(self, rng: np.random.Generator, families: Mapping[str, tuple[int, ...]]) -> None:
        self.rng = rng
        self.families = families
        self.scene = Scene()

    def page(self, *names: str) -> int:
        """Choose a page of one of the named families."""
        return int(self.rng.choice(self.families[str(self.rng.choice(names))]))

    def look(
        self, *names: str, repeat_m: float = 1.0, tint: Colour | None = None, gloss: float = 0.0, glow: float = 0.0
    ) -> Look:
        """Choose a surface with a page of one of the named families; by default a random muted colour."""
        repeat_m *= float(self.rng.uniform(0.7, 1.4))
        return Look(self.page(*names), repeat_m, self.colour() if tint is None else tint, gloss, glow)

    def colour(self, low: float = 0.15, high: float = 0.95, *, vivid: float | None = None) -> Colour:
        """Draw a random reflectance: lightness between the bounds, any hue."""
        rng = self.rng
        saturation = float(rng.beta(1.2, 3.5)) if vivid is None else vivid
        lightness = rng.uniform(low, high)
        hue = rng.random(3)
        hue = (hue - hue.min()) / max(np.ptp(hue), 1e-3)
        r, g, b = np.clip(lightness * (1 - saturation + saturation * 1.4 * hue), 0.02, 1.0)
        return float(r), float(g), float(b)

    def near(self, colour: Colour, spread: float = 0.08) -> Colour:
        """Draw a colour similar to another one."""
        r, g, b = np.clip(np.array(colour) * self.rng.normal(1, spread) * self.rng.normal(1, spread / 2, 3), 0.02, 1.0)
        return float(r), float(g), float(b)

    def box(
        self, centre: Vector, half: Vector, look: Look, rotation: Array | None = None, *, structural: bool = False
    ) -> None:
        """Add a box."""
        self.scene.boxes.add(centre, half, look, rotation, structural=structural)

    def ball(self, centre: Vector, half: Vector, look: Look, rotation: Array | None = None) -> None:
        """Add an ellipsoid."""
        self.scene.quadrics.add(centre, half, look, rotation)

    def dome(self, centre: Vector, half: Vector, look: Look, *, structural: bool = False) -> None:
        """Add the upper half of an ellipsoid, its base at `centre`."""
        x, y, z = half
        self.scene.quadrics.add(centre, (x, z, y), look, UPRIGHT, slab=(0.0, 2.0), structural=structural)

    def pole(self, foot: Vector, radius: float, height: float, look: Look) -> None:
        """Add an upright cylinder that stands on `foot`."""
        centre = moved(foot, 0.0, height / 2, 0.0)
        self.scene.quadrics.add(centre, (radius, radius, height / 2), look, UPRIGHT, slab=(-1.0, 1.0), round_z=False)

    def bar(self, start: Vector, end: Vector, radius: float, look: Look) -> None:
        """Add a cylinder between two points."""
        axis = np.asarray(end, float) - start
        length = float(np.linalg.norm(axis))
        axis = axis / max(length, 1e-6)
        side = np.cross(axis, (0.0, 0.0, 1.0) if abs(axis[2]) < 0.9 else (1.0, 0.0, 0.0))
        side /= np.linalg.norm(side)
        rotation = np.stack([side, np.cross(axis, side), axis], axis=1)
        centre = (np.asarray(start) + end) / 2
        self.scene.quadrics.add(centre, (radius, radius, length / 2), look, rotation, slab=(-1.0, 1.0), round_z=False)


UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Axes of a solid whose third axis points up."""
