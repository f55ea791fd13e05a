"""`gs_video`: a flight through the scene's 3D Gaussians."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.camera_path import Trajectory, make_trajectory
from depth_anything_3.export.formats.depth_vis import spectral_table
from depth_anything_3.export.gsplat_rasterizer import GsplatRasterizer
from depth_anything_3.export.mp4 import write_mp4
from depth_anything_3.export.options import GsVideoOptions, TrjMode, VideoQuality, VisDepth
from depth_anything_3.export.point_cloud import homogeneous, inverse
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.pose_alignment import rigid_inverse

__all__ = ["Rasterizer", "centred", "write"]

FloatArray = npt.NDArray[np.floating]

Rasterizer = Callable[
    [npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[int, int]],
    tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
]
"""World-to-camera poses (F, 4, 4), intrinsics in pixels (F, 3, 3) and (height, width) in; colours (F, H, W, 3) and
depth (F, H, W) out."""

_FPS = 24
_ENCODING = {VideoQuality.HIGH: (18, "slow"), VideoQuality.MEDIUM: (23, "medium"), VideoQuality.LOW: (28, "veryfast")}
_GAP = 8  # white pixels between colours and depth
_NEAR, _FAR = 0.01, 0.99  # quantiles of depth


def write(
    prediction: Prediction,
    export_dir: Path,
    name: str | None,
    options: GsVideoOptions,
    *,
    make_rasterizer: Callable[[Any], Rasterizer] = GsplatRasterizer,  # Any: the model's Gaussians
) -> list[Path]:
    """`gs_video/0000_MODE.mp4`, 24 frames a second: rendered colours, and depth in colour to their right.

    Raises:
        InvalidInputError: not one camera to render from is known.
        UnsupportedError: gsplat, a CUDA GPU, or PyAV is not there.
        ExportError: the file cannot be written.
    """
    size_hw = options.out_image_hw or (prediction.depth.shape[1], prediction.depth.shape[2])
    views = _views(prediction, options, size_hw)
    mode = TrjMode.WANDER if len(views) == 1 else options.trj_mode
    path = export_dir / "gs_video" / (f"0000_{mode.value}.mp4" if name is None else f"{name}.mp4")
    frames = make_trajectory(views, mode, size_hw[1])
    world_to_camera, intrinsics = (
        np.asarray(rigid_inverse(frames.camera_to_world), np.float64),
        centred(frames.intrinsics, size_hw),
    )
    rasterize = make_rasterizer(prediction.gaussians)
    crf, preset = _ENCODING[options.video_quality]
    colors, log_depth = [], []
    for start in range(0, len(world_to_camera), options.chunk_size):
        chunk = slice(start, start + options.chunk_size)
        rgb, depth = rasterize(world_to_camera[chunk], intrinsics[chunk], size_hw)
        colors.append((np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8))
        if options.vis_depth is VisDepth.HCAT:
            # Kept at half precision until the range of all frames is known: the colours have 256 levels.
            log_depth.append(np.log(np.where(depth > 0, depth, np.nan)).astype(np.float16))
    pictures = np.concatenate(colors)
    shown = _beside_depth(pictures, np.concatenate(log_depth)) if log_depth else pictures
    write_mp4(path, shown, _FPS, crf=crf, preset=preset)
    return [path]


def _views(prediction: Prediction, options: GsVideoOptions, size_hw: tuple[int, int]) -> Trajectory:
    """The cameras that are given or predicted, in the frame of the Gaussians."""
    height, width = size_hw
    gaussians, scale = prediction.gaussians, prediction.scale_factor
    if options.extrinsics is None:
        cameras: Any = prediction  # Any: whose cameras are tensors or arrays
        if gaussians is not None and gaussians.extrinsics is not None:
            # Those of the prediction may be given ones, of another frame and unit.
            cameras, scale = gaussians, None
        poses, intrinsics = _matrices(cameras.extrinsics), _matrices(cameras.intrinsics)
        intrinsics = intrinsics / np.array([prediction.depth.shape[2], prediction.depth.shape[1], 1.0])[:, None]
    else:
        poses, intrinsics = _matrices(options.extrinsics), _matrices(options.intrinsics)
        intrinsics = intrinsics / np.array([width, height, 1.0])[:, None]
    views = homogeneous(poses)
    known = np.isfinite(views).all(axis=(1, 2)) & np.isfinite(intrinsics).all(axis=(1, 2))
    if not known.any():
        raise InvalidInputError("gs_video: not one camera is known")
    views, intrinsics = views[known], intrinsics[known]
    if scale:
        views[:, :3, 3] /= scale  # Gaussians are not in metres
    return Trajectory(np.asarray(rigid_inverse(views), np.float64), intrinsics)


def _matrices(values: Any) -> npt.NDArray[np.float64]:  # Any: an array or a tensor
    """One matrix a frame, without the leading axis of 1 that there may be."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, np.float64)
    return array[0] if array.ndim == 4 else array


def centred(intrinsics: npt.NDArray[np.float64], size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Cameras with the same angles of view whose principal point is in the middle.

    Args:
        intrinsics: (F, 3, 3) in widths and heights.
        size_hw: (height, width) of the frames.

    Returns:
        (F, 3, 3) in pixels.
    """
    height, width = size_hw
    middles = np.array([(0, 0.5, 1), (1, 0.5, 1), (0.5, 0, 1), (0.5, 1, 1)], np.float64)
    rays = np.einsum("fij,mj->fmi", inverse(intrinsics), middles)
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    angles = np.arccos(np.clip((rays[:, 0::2] * rays[:, 1::2]).sum(axis=2), -1.0, 1.0))
    result = np.tile(np.eye(3), (len(intrinsics), 1, 1))
    result[:, (0, 1), (0, 1)] = 0.5 * np.array([width, height]) / np.tan(0.5 * angles)
    result[:, :2, 2] = 0.5 * width, 0.5 * height
    return result


def _beside_depth(
    pictures: npt.NDArray[np.uint8], log_depth: npt.NDArray[np.float16]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Each frame with its depth to the right, near red; one range for the whole video, so that it does not flicker."""
    known = log_depth[np.isfinite(log_depth)].astype(np.float32)
    low, high = np.quantile(known, (_NEAR, _FAR)) if known.size else (0.0, 0.0)
    span = max(float(high - low), 1e-6)
    table = spectral_table()
    gap = np.full((pictures.shape[1], _GAP, 3), 255, np.uint8)
    for picture, depth in zip(pictures, log_depth, strict=True):
        share = np.clip((np.nan_to_num(depth.astype(np.float32), nan=high, posinf=high) - low) / span, 0.0, 1.0)
        index = np.minimum((len(table) * share).astype(np.int64), len(table) - 1)
        yield np.hstack([picture, gap, table[index]])
