"""Align overlapping windows of frames to one frame of reference, by a similarity fitted to their shared frames."""

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
from depth_anything_3.runtime.attribute_dict import AttributeDict

__all__ = ["aligned_windows"]

Item = TypeVar("Item")
FloatArray = npt.NDArray[np.floating]

logger = logging.getLogger(__name__)

_PER_VIEW_FIELDS = (
    *("depth", "sky", "conf", "extrinsics", "intrinsics", "processed_images"),
    *("sources", "source_hw", "source_scale", "source_offset", "exif", "choices"),
)


def aligned_windows(
    frames: Iterable[Item],
    infer: Callable[[Sequence[Item]], Prediction],
    *,
    size: int = 16,
    overlap: int = 4,
    is_cut: Callable[[Item, Item], bool] | None = None,
) -> Iterator[Prediction]:
    """Compute depth and cameras of a video of any length as of one scene, with the memory of one window.

    A network that processes all views of a scene together gives consistent depth and cameras, but each call has its
    own scale and origin. Neighbouring windows therefore share `overlap` frames. A similarity, fitted robustly to the 3D
    points of these frames (Umeyama's method with iterative reweighting), transforms each window into the frame of
    reference of the first. In the shared frames both windows are blended.

    Args:
        frames: consumed one window ahead.
        infer: computes depth and cameras of the views of one scene.
        size: maximum number of frames in a window.
        overlap: number of frames that neighbouring windows share.
        is_cut: whether a new shot begins between two frames; a new shot starts a new frame of reference.

    Yields:
        A `Prediction` for each frame (N = 1), in order, with extrinsics in the common frame.

    Raises:
        InvalidInputError: `size` or `overlap` is not accepted.
    """
    if not 0 < overlap < size:
        raise InvalidInputError(
            f"window={size!r} with overlap={overlap!r}: pass a window longer than its overlap of at least 1"
        )
    shared: list[Item] = []  # last frames of the previous window
    views: list[Prediction] = []  # their predictions
    fresh: list[Item] = []
    for frame in frames:
        if is_cut is not None and (shared or fresh) and is_cut((shared + fresh)[-1], frame):
            yield from _align_window(views, infer([*shared, *fresh])) if fresh else views
            shared, views, fresh = [], [], []
        fresh.append(frame)
        if len(shared) + len(fresh) == size:
            views = _align_window(views, infer([*shared, *fresh]))
            yield from views[:-overlap]
            shared, views, fresh = [*shared, *fresh][-overlap:], views[-overlap:], []
    yield from _align_window(views, infer([*shared, *fresh])) if fresh else views


def _align_window(before: Sequence[Prediction], window: Prediction) -> list[Prediction]:
    """Transform the views of a window into the frame of `before`, the views of its first frames in the previous one."""
    views = [_view(window, place) for place in range(len(window.depth))]
    if not before:
        return views
    similarity = _fit(before, views[: len(before)])
    views = [_transformed(view, similarity) for view in views]
    for place, earlier in enumerate(before):
        views[place] = _blended(earlier, views[place], (place + 1) / (len(before) + 1))
    return views


def _fit(before: Sequence[Prediction], after: Sequence[Prediction]) -> Similarity:
    """Fit the similarity that maps the later window's points to the earlier one's points of the same pixels."""
    step = max(1, round((before[0].depth.size * len(before) / MAX_POINTS) ** 0.5))
    sources, targets, distances = [], [], []
    for early, late in zip(before, after, strict=True):
        known = (known_pixels(early) & known_pixels(late))[0, ::step, ::step]
        sources.append(_points(late, step)[known])
        targets.append(_points(early, step)[known])
        # Of both windows: with one, points that noise brought nearer would weigh more, and shrink every window.
        distances.append((early.depth[0, ::step, ::step] * late.depth[0, ::step, ::step])[known])
    similarity = _fit_cameras(before, after)
    source, target = np.concatenate(sources), np.concatenate(targets)
    distance = np.sqrt(np.concatenate(distances) * similarity.scale)
    if len(source) < MIN_POINTS:
        logger.warning("too few shared points to align two windows; aligned by their cameras only")
        return similarity
    for _ in range(ROUNDS):
        errors = np.linalg.norm(similarity.move_points(source) - target, axis=1) / distance
        weights = tukey_weights(errors) / np.square(distance)
        found = fit_points(source, target, weights, symmetric=True)
        if found is None:  # collinear points
            break
        similarity = found
    return similarity


def _fit_cameras(before: Sequence[Prediction], after: Sequence[Prediction]) -> Similarity:
    """Fit an initial similarity: scale from depth, rotation and translation from the cameras."""
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
    """Unproject every `step`-th pixel to world coordinates, (h, w, 3) float64."""
    assert view.intrinsics is not None
    depth = view.depth[0].astype(np.float64)
    rows, columns = np.mgrid[: depth.shape[0] : step, : depth.shape[1] : step] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(view.intrinsics[0].astype(float)).T
    pose = _cameras([view])[0]
    points: FloatArray = (rays * depth[::step, ::step, None]) @ pose[:3, :3].T + pose[:3, 3]
    return points


def _cameras(views: Sequence[Prediction]) -> FloatArray:
    """Return camera-to-world poses (N, 4, 4), float64."""
    poses = np.tile(np.eye(4), (len(views), 1, 1))
    for pose, view in zip(poses, views, strict=True):
        assert view.extrinsics is not None
        pose[:3] = view.extrinsics[0, :3]
    return rigid_inverse(poses)


def _transformed(view: Prediction, similarity: Similarity) -> Prediction:
    extrinsics = rigid_inverse(similarity.move_poses(_cameras([view])))[:, :3].astype(np.float32)
    return replace(view, depth=np.asarray(view.depth * np.float32(similarity.scale)), extrinsics=extrinsics)


def _blended(early: Prediction, late: Prediction, share: float) -> Prediction:
    """Blend one view of two windows, with weight `share` for the later."""
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
    """Return one view of a scene as a prediction."""
    one = slice(place, place + 1)

    whole = {name: getattr(scene, name) for name in _PER_VIEW_FIELDS}
    parts: dict[str, Any] = {  # Any: arrays and tuples
        name: None if values is None else values[one] for name, values in whole.items()
    }
    aux = AttributeDict((name, values[one]) for name, values in scene.aux.items())
    return replace(scene, aux=aux, failures=(), **parts)
