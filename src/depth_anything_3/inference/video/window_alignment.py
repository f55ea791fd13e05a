"""Align overlapping windows of frames to one frame of reference, by a similarity fitted to what they share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inference.video.robust_fit import MAX_POINTS, MIN_POINTS, ROUNDS, known_pixels, tukey_weights
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.pose_alignment import Similarity, fit_points, rigid_inverse

__all__ = ["aligned_windows"]

Item = TypeVar("Item")
FloatArray = npt.NDArray[np.floating]

logger = logging.getLogger(__name__)

_ONE_A_VIEW = (
    *("depth", "sky", "conf", "extrinsics", "intrinsics", "processed_images"),
    *("sources", "source_hw", "source_scale", "exif", "choices"),
)


def aligned_windows(
    frames: Iterable[Item],
    infer: Callable[[Sequence[Item]], Prediction],
    *,
    size: int = 16,
    overlap: int = 4,
    is_cut: Callable[[Item, Item], bool] | None = None,
) -> Iterator[Prediction]:
    """Depth and cameras of a video of any length, as of one scene, in memory for one window.

    A network that sees all views of a scene at a time agrees with itself on depth and cameras, but each call has a
    scale and an origin of its own. Neighbouring windows therefore share `overlap` frames. A similarity, fitted
    robustly (Umeyama's within iterated reweighting) to the 3D points that both saw in these, carries each window into
    the frame of reference of the first. In the shared frames the one fades into the other.

    Args:
        frames: drawn from one window ahead.
        infer: gives depth and cameras of the views of one scene.
        size: most frames in a window.
        overlap: frames that neighbouring windows share.
        is_cut: whether a new shot begins between two frames; it gets a frame of reference of its own.

    Yields:
        A `Prediction` for each frame (N = 1), in order, with extrinsics in the common frame.

    Raises:
        InvalidInputError: `size` or `overlap` is not accepted.
    """
    if not 0 < overlap < size:
        raise InvalidInputError(
            f"window={size!r} with overlap={overlap!r}: windows must be longer than what they share"
        )
    held: list[Item] = []  # seen by the last window, and to be seen by the next
    views: list[Prediction] = []  # of these
    fresh: list[Item] = []
    for frame in frames:
        if is_cut is not None and (held or fresh) and is_cut((held + fresh)[-1], frame):
            yield from _joined(views, infer([*held, *fresh])) if fresh else views
            held, views, fresh = [], [], []
        fresh.append(frame)
        if len(held) + len(fresh) == size:
            views = _joined(views, infer([*held, *fresh]))
            yield from views[:-overlap]
            held, views, fresh = [*held, *fresh][-overlap:], views[-overlap:], []
    yield from _joined(views, infer([*held, *fresh])) if fresh else views


def _joined(before: Sequence[Prediction], window: Prediction) -> list[Prediction]:
    """The views of a window, in the frame of those that it shares with the one before, which it begins with."""
    views = [_view(window, place) for place in range(len(window.depth))]
    if not before:
        return views
    similarity = _fit(before, views[: len(before)])
    views = [_moved(view, similarity) for view in views]
    for place, earlier in enumerate(before):
        views[place] = _faded(earlier, views[place], (place + 1) / (len(before) + 1))
    return views


def _fit(before: Sequence[Prediction], after: Sequence[Prediction]) -> Similarity:
    """What carries the later window's points of the same pixels onto the earlier one's."""
    step = max(1, round((before[0].depth.size * len(before) / MAX_POINTS) ** 0.5))
    sources, targets, distances = [], [], []
    for early, late in zip(before, after, strict=True):
        known = (known_pixels(early) & known_pixels(late))[0, ::step, ::step]
        sources.append(_points(late, step)[known])
        targets.append(_points(early, step)[known])
        # Of both: points that noise brought nearer in one of them would else weigh more, and shrink every window.
        distances.append((early.depth[0, ::step, ::step] * late.depth[0, ::step, ::step])[known])
    similarity = _fit_cameras(before, after)
    source, target = np.concatenate(sources), np.concatenate(targets)
    distance = np.sqrt(np.concatenate(distances) * similarity.scale)
    if len(source) < MIN_POINTS:
        logger.warning("two windows share too little to go by; the later one keeps the scale that it came with")
        return similarity
    for _ in range(ROUNDS):
        errors = np.linalg.norm(similarity.move_points(source) - target, axis=1) / distance
        weights = tukey_weights(errors) / np.square(distance)
        found = fit_points(source, target, weights, symmetric=True)
        if found is None:  # all on a line
            break
        similarity = found
    return similarity


def _fit_cameras(before: Sequence[Prediction], after: Sequence[Prediction]) -> Similarity:
    """A first guess: scale by depth, rotation and translation by the cameras."""
    ratios = []
    for one, other in zip(before, after, strict=True):
        known = known_pixels(one) & known_pixels(other)
        ratios.append(one.depth[known] / other.depth[known])
    together = np.concatenate(ratios)
    scale = float(np.median(together)) if together.size else 1.0
    early, late = _cameras(before), _cameras(after)
    rotation = _nearest_rotation((early[:, :3, :3] @ np.swapaxes(late[:, :3, :3], 1, 2)).sum(axis=0))
    translation = np.median(early[:, :3, 3] - scale * late[:, :3, 3] @ rotation.T, axis=0)
    return Similarity(rotation, translation, scale)


def _points(view: Prediction, step: int) -> FloatArray:
    """(h, w, 3) what every `step`-th pixel shows, in the world's frame, float64."""
    assert view.intrinsics is not None
    depth = view.depth[0].astype(np.float64)
    rows, columns = np.mgrid[: depth.shape[0] : step, : depth.shape[1] : step] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(view.intrinsics[0].astype(float)).T
    pose = _cameras([view])[0]
    points: FloatArray = (rays * depth[::step, ::step, None]) @ pose[:3, :3].T + pose[:3, 3]
    return points


def _cameras(views: Sequence[Prediction]) -> FloatArray:
    """Camera-to-world poses (N, 4, 4), float64."""
    poses = np.tile(np.eye(4), (len(views), 1, 1))
    for pose, view in zip(poses, views, strict=True):
        assert view.extrinsics is not None
        pose[:3] = view.extrinsics[0, :3]
    return rigid_inverse(poses)


def _moved(view: Prediction, similarity: Similarity) -> Prediction:
    extrinsics = rigid_inverse(similarity.move_poses(_cameras([view])))[:, :3].astype(np.float32)
    return replace(view, depth=np.asarray(view.depth * np.float32(similarity.scale)), extrinsics=extrinsics)


def _faded(early: Prediction, late: Prediction, share: float) -> Prediction:
    """One view as two windows saw it: `share` of the later and the rest of the earlier."""
    poses = (1 - share) * _cameras([early]) + share * _cameras([late])
    poses[0, :3, :3] = _nearest_rotation(poses[0, :3, :3])
    assert early.intrinsics is not None
    assert late.intrinsics is not None
    depth = (1 - share) * early.depth + share * late.depth
    depth = np.where(early.depth > 0, np.where(late.depth > 0, depth, early.depth), late.depth)
    return replace(
        late,
        depth=depth.astype(np.float32),
        extrinsics=rigid_inverse(poses)[:, :3].astype(np.float32),
        intrinsics=((1 - share) * early.intrinsics + share * late.intrinsics).astype(np.float32),
    )


def _nearest_rotation(matrix: FloatArray) -> FloatArray:
    u, _, vt = np.linalg.svd(matrix)
    rotation: FloatArray = (u * [1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return rotation


def _view(scene: Prediction, place: int) -> Prediction:
    """One view of a scene."""
    one = slice(place, place + 1)

    whole = {name: getattr(scene, name) for name in _ONE_A_VIEW}
    parts: dict[str, Any] = {  # Any: arrays and tuples
        name: None if values is None else values[one] for name, values in whole.items()
    }
    aux = {name: values[one] for name, values in scene.aux.items()}
    return replace(scene, aux=aux, failures=(), **parts)
