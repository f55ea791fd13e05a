"""Make camera paths for rendered videos, from the cameras of the views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depth_anything_3.runtime.option_values import StringEnum

__all__ = ["Trajectory", "TrjMode", "interpolate_pose", "make_trajectory"]

FloatArray = npt.NDArray[np.float64]

_FRAMES_PER_GAP = 8
_MAX_FRAMES = 432
_REDUCED_FRAMES = 240  # of a path that would have more than the maximum
_MIN_FRAMES = 48
_SMOOTHING_WINDOW = 50  # frames
_SINGLE_MOTION_FRAMES = 120  # of a wander or dolly zoom that is the whole video
_WANDER_PX = 24.0  # by which points at depth 1 move
_WOBBLE_INTERVAL, _WOBBLE_FRAMES = 3, 30
_PARALLEL = 1e-4


class TrjMode(StringEnum):
    """The path of the camera in a rendered video."""

    ORIGINAL = "original"
    SMOOTH = "smooth"
    INTERPOLATE = "interpolate"
    INTERPOLATE_SMOOTH = "interpolate_smooth"
    EXTEND = "extend"
    WANDER = "wander"
    DOLLY_ZOOM = "dolly_zoom"
    WOBBLE_INTER = "wobble_inter"


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Cameras, one for each frame.

    Attributes:
        camera_to_world: (F, 4, 4) float64, OpenCV axes.
        intrinsics: (F, 3, 3) float64, in units of the frame's width and height.
    """

    camera_to_world: FloatArray
    intrinsics: FloatArray

    def __len__(self) -> int:
        return len(self.camera_to_world)

    def __getitem__(self, chosen: slice) -> Trajectory:
        return Trajectory(self.camera_to_world[chosen], self.intrinsics[chosen])


def make_trajectory(views: Trajectory, mode: TrjMode, width: int) -> Trajectory:
    """Make the camera path of one of upstream's modes.

    Args:
        views: cameras of the views; at least two, except for "wander", "dolly_zoom", "original" and "smooth".
        mode: the kind of path.
        width: of the frames, in pixels.
    """
    makers: dict[TrjMode, Callable[[], Trajectory]] = {
        TrjMode.ORIGINAL: lambda: views,
        TrjMode.SMOOTH: lambda: _smooth(views),
        TrjMode.INTERPOLATE: lambda: _interpolate(views),
        TrjMode.INTERPOLATE_SMOOTH: lambda: _smooth(_interpolate(views)),
        TrjMode.EXTEND: lambda: _extend(_smooth(_interpolate(views)), width),
        TrjMode.WANDER: lambda: _wander(views[:1], _SINGLE_MOTION_FRAMES, width),
        TrjMode.DOLLY_ZOOM: lambda: _dolly_zoom(views[:1], _SINGLE_MOTION_FRAMES, distance=2.0, focus=30.0),
        TrjMode.WOBBLE_INTER: lambda: _wobble(views),
    }
    return makers[mode]()


def _joined(*parts: Trajectory) -> Trajectory:
    return Trajectory(
        np.concatenate([part.camera_to_world for part in parts]), np.concatenate([part.intrinsics for part in parts])
    )


def _between(views: Trajectory, first: int, second: int, steps: FloatArray) -> Trajectory:
    """Interpolate cameras between two views, at the fractions `steps` (0 to 1)."""
    poses = interpolate_pose(views.camera_to_world[first], views.camera_to_world[second], steps)
    share = steps[:, None, None]
    return Trajectory(poses, (1 - share) * views.intrinsics[first] + share * views.intrinsics[second])


def _interpolate(views: Trajectory) -> Trajectory:
    """Interpolate eight frames between views, fewer or more if the total is large or small; slower near the views."""
    gaps = len(views) - 1
    frames = _FRAMES_PER_GAP
    if gaps * _FRAMES_PER_GAP > _MAX_FRAMES:
        frames = max(1, _REDUCED_FRAMES // gaps)
    elif gaps * _FRAMES_PER_GAP < _MIN_FRAMES:
        frames = max(1, _MIN_FRAMES // gaps)
    if frames <= 2:
        return views
    steps = (np.cos(np.pi * (np.linspace(0, 1, frames) + 1)) + 1) / 2
    return _joined(*(_between(views, gap, gap + 1, steps)[1 if gap else 0 :] for gap in range(gaps)))


def _smooth(frames: Trajectory) -> Trajectory:
    """Smooth poses with a Gaussian window; rotations by their first two axes."""
    size = min(_SMOOTHING_WINDOW + 1, len(frames) - (len(frames) + 1) % 2)
    if size < 3:
        return frames
    half = size // 2
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    window = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    window /= window.sum()
    padded = np.pad(frames.camera_to_world[:, :3], ((half, half), (0, 0), (0, 0)), mode="reflect")
    mean = np.einsum("frcw,w->frc", np.lib.stride_tricks.sliding_window_view(padded, size, axis=0), window)
    x = mean[:, :, 0] / np.linalg.norm(mean[:, :, 0], axis=1, keepdims=True)
    y = mean[:, :, 1] - (mean[:, :, 1] * x).sum(axis=1, keepdims=True) * x  # keeps it a rotation
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    poses = frames.camera_to_world.copy()
    poses[:, :3] = np.stack([x, y, np.cross(x, y), mean[:, :, 3]], axis=2)
    return Trajectory(poses, frames.intrinsics)


def _moved(base: Trajectory, offsets: FloatArray) -> Trajectory:
    """Move the base camera along its own axes, by each of the offsets (F, 3)."""
    poses = np.tile(base.camera_to_world[:1], (len(offsets), 1, 1))
    poses[:, :3, 3] += offsets @ base.camera_to_world[0, :3, :3].T
    return Trajectory(poses, np.tile(base.intrinsics[:1], (len(offsets), 1, 1)))


def _wander(base: Trajectory, steps: int, width: int) -> Trajectory:
    """Make a tilted ellipse that starts and ends at the base camera."""
    radius = _WANDER_PX / (base.intrinsics[0, 0, 0] * width)
    angle = np.linspace(0, 2 * np.pi, steps)
    round_trip = -radius * np.stack([np.sin(angle), np.cos(angle) / 3, np.cos(angle) / 3], axis=1)
    return _joined(base, _moved(base, round_trip), base)


def _dolly_zoom(base: Trajectory, steps: int, *, distance: float, focus: float) -> Trajectory:
    """Move backwards by `distance` and forwards again, while the focal length changes."""
    z = 0.5 * (1 - np.cos(np.pi * np.linspace(0, 2, steps))) * distance
    frames = _moved(base, np.stack([np.zeros(steps), np.zeros(steps), -z], axis=1))
    frames.intrinsics[:, (0, 1), (0, 1)] *= np.maximum(focus / (focus + z), 1e-6)[:, None]
    return frames


def _extend(frames: Trajectory, width: int) -> Trajectory:
    """Insert a wander and a dolly zoom in the middle of the frames."""
    middle = len(frames) // 2
    steps = max(36, min(60, middle // 2))
    base = frames[middle : middle + 1]
    zoom = _dolly_zoom(base, steps, distance=0.1, focus=10.0)
    return _joined(frames[:middle], _wander(base, steps, width), zoom, frames[middle:])


def _wobble(views: Trajectory) -> Trajectory:
    """Add a circle to the path from every third view to the next; its radius is half their distance."""
    chosen = views[::_WOBBLE_INTERVAL] if len(views) > _WOBBLE_INTERVAL else views
    steps = np.linspace(0, 1, _WOBBLE_FRAMES)
    circle = np.stack([np.sin(2 * np.pi * steps), -np.cos(2 * np.pi * steps), np.zeros_like(steps)], axis=1)
    parts, distances = [], []
    for gap in range(len(chosen) - 1):
        offset = chosen.camera_to_world[gap + 1, :3, 3] - chosen.camera_to_world[gap, :3, 3]
        distances.append(np.linalg.norm(offset))
        frames = _between(chosen, gap, gap + 1, steps)
        offsets = 0.5 * np.mean(distances) * circle
        frames.camera_to_world[:, :3, 3] += np.einsum("fij,fj->fi", frames.camera_to_world[:, :3, :3], offsets)
        parts.append(frames)
    return _joined(*parts)


def interpolate_pose(first: FloatArray, second: FloatArray, steps: FloatArray) -> FloatArray:
    """Interpolate camera-to-world poses on an arc about the point closest to both optical axes.

    Each pose is expressed by the position of that pivot in the camera's frame, and by the camera's angles in the plane
    of the two viewing directions. These numbers are interpolated, the angles along the shorter arc.

    Args:
        first, second: (4, 4) camera-to-world poses.
        steps: (F,) fractions of the path, 0 to 1.

    Returns:
        (F, 4, 4) float64.
    """
    ends = np.stack([first, second]).astype(np.float64)
    directions, centres = ends[:, :3, 2], ends[:, :3, 3]
    normal = _normal(directions)
    frame = np.stack([np.cross(normal, directions[0]), normal, directions[0]], axis=1)
    pivot = _pivot(directions, centres)
    offsets = np.stack(
        [_plane_axes(normal, z).T @ (pivot - centre) for z, centre in zip(directions, centres, strict=True)]
    )
    angles = np.stack([_yaw_and_roll(frame.T @ pose[:3, :3]) for pose in ends])
    turn = (angles[1] - angles[0] + np.pi) % (2 * np.pi) - np.pi
    poses = np.tile(np.eye(4), (len(steps), 1, 1))
    for pose, step in zip(poses, steps, strict=True):
        pose[:3, :3] = frame @ _from_yaw_and_roll(*(angles[0] + step * turn))
        offset = (1 - step) * offsets[0] + step * offsets[1]
        pose[:3, 3] = pivot - _plane_axes(normal, pose[:3, 2]) @ offset
    return poses


def _is_parallel(a: FloatArray, b: FloatArray) -> bool:
    return bool(abs(abs(a @ b) - 1) < _PARALLEL)


def _normal(directions: FloatArray) -> FloatArray:
    """Unit normal of the plane of two directions; if they are parallel, of the first and an axis of the world."""
    a, b = directions
    for other in (b, np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])):
        if not _is_parallel(a, other):
            break
    normal: FloatArray = np.cross(a, other)
    normal /= np.linalg.norm(normal)
    return normal


def _pivot(directions: FloatArray, centres: FloatArray) -> FloatArray:
    """Compute the point closest to both optical axes; halfway between the cameras if the axes are parallel."""
    if _is_parallel(*directions):
        return np.asarray(centres.mean(axis=0))
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    pivot: FloatArray = np.linalg.solve(across.sum(axis=0), np.einsum("nij,nj->i", across, centres))
    return pivot


def _plane_axes(normal: FloatArray, z: FloatArray) -> FloatArray:
    return np.stack([np.cross(normal, z), normal, z], axis=1)


def _yaw_and_roll(rotation: FloatArray) -> FloatArray:
    """Compute the first and last of the intrinsic Y-X-Z Euler angles."""
    return np.array([np.arctan2(rotation[0, 2], rotation[2, 2]), np.arctan2(rotation[1, 0], rotation[1, 1])])


def _from_yaw_and_roll(yaw: float, roll: float) -> FloatArray:
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    rotation: FloatArray = about_y @ about_z
    return rotation
