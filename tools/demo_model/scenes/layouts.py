"""Choose the layout of a seed, and place the camera."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scenes.indoors import corridor, room, tabletop
from scenes.outdoors import clearing, street, yard
from scenes.scene import Scene, SceneBuilder

__all__ = ["make_scene"]

_CLEARANCE = 0.35  # metres between the camera and what is in the scene

_LAYOUTS = ((room, 0.34), (corridor, 0.08), (tabletop, 0.08), (street, 0.20), (yard, 0.16), (clearing, 0.14))


def make_scene(seed: int, families: Mapping[str, tuple[int, ...]]) -> Scene:
    """Make a random scene.

    Args:
        seed: What it depends on.
        families: Pages of the texture atlas by kind.
    """
    rng = np.random.default_rng(seed)
    builder = SceneBuilder(rng, families)
    layouts, weights = zip(*_LAYOUTS, strict=True)
    scene = builder.scene
    scene.fov = float(np.radians(rng.choice((rng.uniform(55, 72), rng.uniform(30, 95)), p=(0.6, 0.4))))
    scene.roll = float(rng.normal(0, 0.03) if rng.random() < 0.85 else rng.normal(0, 0.15))
    layouts[int(rng.choice(len(layouts), p=weights))](builder)
    clearance = min(_CLEARANCE, 0.3 * float(scene.eye[1]))
    scene.boxes.drop_near(scene.eye, clearance)
    scene.quadrics.drop_near(scene.eye, clearance)
    return scene
