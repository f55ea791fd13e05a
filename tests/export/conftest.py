"""A plane that two cameras see, with everything a prediction of it would hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from depth_anything_3.prediction import Prediction

VIEWS, HEIGHT, WIDTH = 2, 42, 56
SOURCE_HW = (300, 400)  # 42 x 56 is a resize of it: ratios 7.142..
NORMAL, DISTANCE = np.array([0.1, -0.2, 1.0]) / np.linalg.norm([0.1, -0.2, 1.0]), 4.0
"""Points x of the plane fulfil `NORMAL @ x = DISTANCE`."""


def turned(angle: float, axis: int) -> np.ndarray:
    """A rotation about an axis of the world."""
    first, second = (one for one in range(3) if one != axis)
    rotation = np.eye(3)
    rotation[[first, second], [first, second]] = np.cos(angle)
    rotation[first, second], rotation[second, first] = -np.sin(angle), np.sin(angle)
    return rotation


def make_plane_scene(views: int = VIEWS) -> Prediction:
    """Exact depth of the plane; the image's red and green encode each pixel's column and row."""
    rng = np.random.default_rng(5)
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    intrinsics = np.array([[50.0, 0, 27.5], [0, 52.0, 20.5], [0, 0, 1]])
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T
    poses, depths = [], []
    for view in range(views):
        rotation = turned(0.1 * view, 1) @ turned(0.05 * view, 0)
        pose = np.column_stack([rotation, [0.3 * view, -0.1 * view, 0.2 * view]])
        normal = rotation @ NORMAL  # of the plane in the camera's frame
        depths.append((DISTANCE + normal @ pose[:, 3]) / (rays @ normal))
        poses.append(pose)
    images = np.stack([4 * u, 5 * v, np.full_like(u, 90)], axis=-1).astype(np.uint8)
    return Prediction(
        depth=np.array(depths, np.float32),
        conf=rng.uniform(1, 9, (views, HEIGHT, WIDTH)).astype(np.float32),
        extrinsics=np.array(poses, np.float32),
        intrinsics=np.tile(intrinsics.astype(np.float32), (views, 1, 1)),
        processed_images=np.tile(images, (views, 1, 1, 1)),
        sources=tuple(f"/photos/view {view} ü.jpg" for view in range(views)),
        source_hw=(SOURCE_HW,) * views,
    )


@pytest.fixture
def plane_scene() -> Prediction:
    return make_plane_scene()


@pytest.fixture
def plane_scene_of() -> Callable[[int], Prediction]:
    return make_plane_scene


def distance_from_plane(points: np.ndarray) -> float:
    """Of the farthest of (M, 3) points."""
    return float(np.abs(points @ NORMAL - DISTANCE).max())


@pytest.fixture
def off_plane() -> Callable[[np.ndarray], float]:
    return distance_from_plane
