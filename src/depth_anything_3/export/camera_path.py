"""The cameras of some views in, the cameras of a video's frames out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depth_anything_3.export.options import TrjMode
from depth_anything_3.export.pose_interpolation import interpolate_pose

__all__ = ["Trajectory", "make_trajectory"]

FloatArray = npt.NDArray[np.float64]

_FRAMES_PER_GAP = 8
_MAX_FRAMES, _MANY_FRAMES, _FEW_FRAMES = 432, 240, 48
_WINDOW = 50  # frames
_SHOW_STEPS = 120  # of a wander or dolly zoom that is the whole video
_WANDER = 24.0  # pixels that the nearest things, at depth 1, move
_WOBBLE_EVERY, _WOBBLE_FRAMES = 3, 30


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Cameras, one a frame.

    Attributes:
        camera_to_world: (F, 4, 4) float64, OpenCV axes.
        intrinsics: (F, 3, 3) float64, in widths and heights of the frame.
    """

    camera_to_world: FloatArray
    intrinsics: FloatArray

    def __len__(self) -> int:
        return len(self.camera_to_world)

    def __getitem__(self, chosen: slice) -> Trajectory:
        return Trajectory(self.camera_to_world[chosen], self.intrinsics[chosen])


def make_trajectory(views: Trajectory, mode: TrjMode, width: int) -> Trajectory:
    """What upstream's mode of that name makes of the views.

    Args:
        views: their cameras; at least two, but for "wander", "dolly_zoom", "original" and "smooth".
        mode: the name.
        width: of the frames, in pixels.
    """
    makers: dict[TrjMode, Callable[[], Trajectory]] = {
        TrjMode.ORIGINAL: lambda: views,
        TrjMode.SMOOTH: lambda: _smooth(views),
        TrjMode.INTERPOLATE: lambda: _interpolate(views),
        TrjMode.INTERPOLATE_SMOOTH: lambda: _smooth(_interpolate(views)),
        TrjMode.EXTEND: lambda: _extend(_smooth(_interpolate(views)), width),
        TrjMode.WANDER: lambda: _wander(views[:1], _SHOW_STEPS, width),
        TrjMode.DOLLY_ZOOM: lambda: _dolly_zoom(views[:1], _SHOW_STEPS, distance=2.0, focus=30.0),
        TrjMode.WOBBLE_INTER: lambda: _wobble(views),
    }
    return makers[mode]()


def _joined(*parts: Trajectory) -> Trajectory:
    return Trajectory(
        np.concatenate([part.camera_to_world for part in parts]), np.concatenate([part.intrinsics for part in parts])
    )


def _between(views: Trajectory, first: int, second: int, steps: FloatArray) -> Trajectory:
    """Cameras at `steps` (0 to 1) of the way from one view to another."""
    poses = interpolate_pose(views.camera_to_world[first], views.camera_to_world[second], steps)
    share = steps[:, None, None]
    return Trajectory(poses, (1 - share) * views.intrinsics[first] + share * views.intrinsics[second])


def _interpolate(views: Trajectory) -> Trajectory:
    """Eight frames from each view to the next, fewer or more where that is many or few in all; slow at the views."""
    gaps = len(views) - 1
    frames = _FRAMES_PER_GAP
    if gaps * _FRAMES_PER_GAP > _MAX_FRAMES:
        frames = max(1, _MANY_FRAMES // gaps)
    elif gaps * _FRAMES_PER_GAP < _FEW_FRAMES:
        frames = max(1, _FEW_FRAMES // gaps)
    if frames <= 2:
        return views
    steps = (np.cos(np.pi * (np.linspace(0, 1, frames) + 1)) + 1) / 2
    return _joined(*(_between(views, gap, gap + 1, steps)[1 if gap else 0 :] for gap in range(gaps)))


def _smooth(frames: Trajectory) -> Trajectory:
    """Poses averaged with a Gaussian window; rotations by their first two axes."""
    size = min(_WINDOW + 1, len(frames) - (len(frames) + 1) % 2)
    if size < 3:
        return frames
    half = size // 2
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    window = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    window /= window.sum()
    padded = np.pad(frames.camera_to_world[:, :3], ((half, half), (0, 0), (0, 0)), mode="reflect")
    mean = np.einsum("frcw,w->frc", np.lib.stride_tricks.sliding_window_view(padded, size, axis=0), window)
    x = mean[:, :, 0] / np.linalg.norm(mean[:, :, 0], axis=1, keepdims=True)
    y = mean[:, :, 1] - (mean[:, :, 1] * x).sum(axis=1, keepdims=True) * x  # so that it stays a rotation
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    poses = frames.camera_to_world.copy()
    poses[:, :3] = np.stack([x, y, np.cross(x, y), mean[:, :, 3]], axis=2)
    return Trajectory(poses, frames.intrinsics)


def _moved(base: Trajectory, offsets: FloatArray) -> Trajectory:
    """The base camera, moved along its own axes by each of the offsets (F, 3)."""
    poses = np.tile(base.camera_to_world[:1], (len(offsets), 1, 1))
    poses[:, :3, 3] += offsets @ base.camera_to_world[0, :3, :3].T
    return Trajectory(poses, np.tile(base.intrinsics[:1], (len(offsets), 1, 1)))


def _wander(base: Trajectory, steps: int, width: int) -> Trajectory:
    """Once round a tilted ellipse, from the base camera and back to it."""
    radius = _WANDER / (base.intrinsics[0, 0, 0] * width)
    angle = np.linspace(0, 2 * np.pi, steps)
    round_trip = -radius * np.stack([np.sin(angle), np.cos(angle) / 3, np.cos(angle) / 3], axis=1)
    return _joined(base, _moved(base, round_trip), base)


def _dolly_zoom(base: Trajectory, steps: int, *, distance: float, focus: float) -> Trajectory:
    """Back by `distance` and forth again, while the focal length changes."""
    z = 0.5 * (1 - np.cos(np.pi * np.linspace(0, 2, steps))) * distance
    frames = _moved(base, np.stack([np.zeros(steps), np.zeros(steps), -z], axis=1))
    frames.intrinsics[:, (0, 1), (0, 1)] *= np.maximum(focus / (focus + z), 1e-6)[:, None]
    return frames


def _extend(frames: Trajectory, width: int) -> Trajectory:
    """With a wander and a dolly zoom in the middle."""
    middle = len(frames) // 2
    steps = max(36, min(60, middle // 2))
    base = frames[middle : middle + 1]
    zoom = _dolly_zoom(base, steps, distance=0.1, focus=10.0)
    return _joined(frames[:middle], _wander(base, steps, width), zoom, frames[middle:])


def _wobble(views: Trajectory) -> Trajectory:
    """From every third view to the next, once round a circle that half their distance is the radius of."""
    chosen = views[::_WOBBLE_EVERY] if len(views) > _WOBBLE_EVERY else views
    steps = np.linspace(0, 1, _WOBBLE_FRAMES)
    circle = np.stack([np.sin(2 * np.pi * steps), -np.cos(2 * np.pi * steps), np.zeros_like(steps)], axis=1)
    parts, distances = [], []
    for gap in range(len(chosen) - 1):
        way = chosen.camera_to_world[gap + 1, :3, 3] - chosen.camera_to_world[gap, :3, 3]
        distances.append(np.linalg.norm(way))
        frames = _between(chosen, gap, gap + 1, steps)
        offsets = 0.5 * np.mean(distances) * circle
        frames.camera_to_world[:, :3, 3] += np.einsum("fij,fj->fi", frames.camera_to_world[:, :3, :3], offsets)
        parts.append(frames)
    return _joined(*parts)
