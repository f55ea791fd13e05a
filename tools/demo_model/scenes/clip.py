"""Render a camera that moves through a static scene, with exact depth and poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from scenes.layouts import make_scene
from scenes.render import draw_scenes
from scenes.textures import Atlas

__all__ = ["Clip", "render_clip"]

_Y_DOWN = np.diag([1.0, -1.0, 1.0])  # the scenes' y points up


@dataclass(frozen=True, eq=False)
class Clip:
    """N frames and their truth.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        depth: (N, H, W) float32 metres along the optical axis; 0 in the sky.
        extrinsics: (N, 3, 4) float64 world-to-camera, OpenCV axes, metres.
        intrinsics: (N, 3, 3) float64 pixels.
    """

    images: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    extrinsics: npt.NDArray[np.float64]
    intrinsics: npt.NDArray[np.float64]


def render_clip(
    seed: int,
    frames: int,
    size: tuple[int, int],
    atlas: Atlas,
    *,
    step: Sequence[float] = (0.02, 0.0, 0.03),
    turn: float = 0.003,
) -> Clip:
    """Render a video of a static scene.

    Args:
        seed: Of the scene; all frames have the same camera noise.
        frames: How many.
        size: (height, width) in pixels, multiples of 14.
        atlas: The textures.
        step: Metres to the right, downwards and ahead from frame to frame, as the camera looks in the first.
        turn: Radians to the right from frame to frame.
    """
    first = make_scene(seed, atlas.families)
    offset = np.asarray(step, float) @ first.view_rotation()
    images, depth, extrinsics, intrinsics = [], [], [], []
    for number in range(frames):
        scene = replace(first, eye=first.eye + number * offset, yaw=first.yaw + number * turn)
        drawn = draw_scenes([scene], [seed], size, atlas)  # one by one: memory must not grow with the video
        images.append(drawn.image[0].permute(1, 2, 0).numpy())
        depth.append(drawn.depth[0].masked_fill(drawn.sky[0], 0.0).numpy())
        rotation = scene.view_rotation() @ _Y_DOWN
        extrinsics.append(np.column_stack([rotation, -rotation @ _Y_DOWN @ scene.eye]))
        intrinsics.append(drawn.intrinsics[0].double().numpy())
    return Clip(np.stack(images), np.stack(depth), np.stack(extrinsics), np.stack(intrinsics))
