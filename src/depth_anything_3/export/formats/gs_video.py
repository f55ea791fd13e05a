"""Write `gs_video`: a rendering of the 3D Gaussians along a camera path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.camera_path import Trajectory, TrjMode, make_trajectory
from depth_anything_3.export.colormap import spectral_table
from depth_anything_3.export.format_options import FormatOptions
from depth_anything_3.export.gsplat_rasterizer import GsplatRasterizer
from depth_anything_3.export.point_cloud import homogeneous, inverse
from depth_anything_3.export.video_file import write_mp4
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.pose_alignment import rigid_inverse
from depth_anything_3.runtime.option_values import StringEnum, positive_int

__all__ = ["GsVideoOptions", "Rasterizer", "VideoQuality", "VisDepth", "centred", "write"]

FloatArray = npt.NDArray[np.floating]

Rasterizer = Callable[
    [npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[int, int]],
    tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
]
"""Takes world-to-camera poses (F, 4, 4), intrinsics in pixels (F, 3, 3) and (height, width); returns colours
(F, H, W, 3) and depth (F, H, W)."""


class VideoQuality(StringEnum):
    """Compression of a rendered video."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class VisDepth(StringEnum):
    """Whether a rendered video shows depth beside the colours."""

    HCAT = "hcat"
    NONE = "none"


_FPS = 24
_ENCODING = {VideoQuality.HIGH: (18, "slow"), VideoQuality.MEDIUM: (23, "medium"), VideoQuality.LOW: (28, "veryfast")}
"""x264's rate factor and preset."""
_GAP_PX = 8  # white, between colours and depth
_DEPTH_QUANTILES = (0.01, 0.99)  # that the colours of depth cover


@dataclass(frozen=True)
class GsVideoOptions(FormatOptions):
    """Options of `gs_video`.

    Attributes:
        extrinsics: (F, 4, 4) or (F, 3, 4) world-to-camera poses to render from, or the same with a leading axis of 1;
            None: the predicted ones.
        intrinsics: (F, 3, 3) in pixels of `out_image_hw`, or the same with a leading axis of 1.
        out_image_hw: (height, width) of the frames; None: that of the depth.
        trj_mode: camera path to make of the poses. A single pose always gets "wander".
        chunk_size: frames rendered together.
        vis_depth: coloured depth to the right of each frame ("hcat"), or not ("none", None).
        video_quality: "high", "medium" or "low".
    """

    extrinsics: Any = field(default=None, metadata={"parameter": "render_exts"})  # Any: an array or tensor
    intrinsics: Any = field(default=None, metadata={"parameter": "render_ixts"})
    out_image_hw: tuple[int, int] | None = field(default=None, metadata={"parameter": "render_hw"})
    trj_mode: TrjMode = TrjMode.EXTEND
    chunk_size: int = 4
    vis_depth: VisDepth | None = VisDepth.HCAT
    video_quality: VideoQuality = VideoQuality.HIGH

    def __post_init__(self) -> None:
        object.__setattr__(self, "trj_mode", TrjMode(self.trj_mode))
        object.__setattr__(self, "video_quality", VideoQuality(self.video_quality))
        object.__setattr__(self, "vis_depth", VisDepth("none" if self.vis_depth is None else self.vis_depth))
        positive_int("chunk_size", self.chunk_size)
        _check_cameras(self.extrinsics, self.intrinsics)
        if self.out_image_hw is not None:
            _check_size(self.out_image_hw)


def _check_cameras(extrinsics: Any, intrinsics: Any) -> None:  # Any: arrays, tensors, or None
    """Check that cameras to render from are one pose and one matrix for each frame."""
    if (extrinsics is None) != (intrinsics is None):
        raise InvalidInputError("render_exts and render_ixts must be given together")
    if extrinsics is None:
        return
    try:
        shapes = [tuple(np.shape(one)) for one in (extrinsics, intrinsics)]
    except ValueError:  # rows of different lengths
        shapes = [(), ()]
    poses, matrices = (shape[1:] if len(shape) == 4 and shape[0] == 1 else shape for shape in shapes)
    if poses[1:] not in ((3, 4), (4, 4)) or matrices != (poses[0], 3, 3) or not poses[0]:
        raise InvalidInputError(
            f"render_exts {list(shapes[0])} and render_ixts {list(shapes[1])}: "
            "give as many (4, 4) poses as (3, 3) intrinsics"
        )


def _check_size(size_hw: tuple[int, int]) -> None:
    if len(size_hw) != 2 or not all(isinstance(side, int) and side > 0 for side in size_hw):
        raise InvalidInputError(f"render_hw={size_hw!r}: give (height, width) in pixels")


def write(
    prediction: Prediction,
    export_dir: Path,
    name: str | None,
    options: GsVideoOptions,
    *,
    make_rasterizer: Callable[[Any], Rasterizer] = GsplatRasterizer,  # Any: the model's Gaussians
) -> list[Path]:
    """Write rendered colours, with coloured depth to their right, at 24 frames per second.

    Raises:
        InvalidInputError: no camera to render from is known.
        UnsupportedError: gsplat, a CUDA GPU, or PyAV is not available.
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
            # Half precision until the range of all frames is known: the colours have 256 levels.
            log_depth.append(np.log(np.where(depth > 0, depth, np.nan)).astype(np.float16))
    images = np.concatenate(colors)
    shown = _beside_depth(images, np.concatenate(log_depth)) if log_depth else images
    write_mp4(path, shown, _FPS, crf=crf, preset=preset)
    return [path]


def _views(prediction: Prediction, options: GsVideoOptions, size_hw: tuple[int, int]) -> Trajectory:
    """Choose the given or predicted cameras, in the frame of the Gaussians."""
    height, width = size_hw
    gaussians, scale = prediction.gaussians, prediction.scale_factor
    if options.extrinsics is None:
        cameras: Any = prediction  # Any: whose cameras are tensors or arrays
        if gaussians is not None and gaussians.extrinsics is not None:
            # The cameras of the prediction may be given cameras, in another frame and unit.
            cameras, scale = gaussians, None
        poses, intrinsics = _matrices(cameras.extrinsics), _matrices(cameras.intrinsics)
        intrinsics = intrinsics / np.array([prediction.depth.shape[2], prediction.depth.shape[1], 1.0])[:, None]
    else:
        poses, intrinsics = _matrices(options.extrinsics), _matrices(options.intrinsics)
        intrinsics = intrinsics / np.array([width, height, 1.0])[:, None]
    views = homogeneous(poses)
    known = np.isfinite(views).all(axis=(1, 2)) & np.isfinite(intrinsics).all(axis=(1, 2))
    if not known.any():
        raise InvalidInputError("gs_video: no camera is known; give render_exts and render_ixts")
    views, intrinsics = views[known], intrinsics[known]
    if scale:
        views[:, :3, 3] /= scale  # Gaussians stay in the network's unit
    return Trajectory(np.asarray(rigid_inverse(views), np.float64), intrinsics)


def _matrices(values: Any) -> npt.NDArray[np.float64]:  # Any: an array or a tensor
    """Convert to one matrix per frame, without a leading axis of 1."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, np.float64)
    return array[0] if array.ndim == 4 else array


def centred(intrinsics: npt.NDArray[np.float64], size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Move the principal point to the centre, with the same angles of view.

    Args:
        intrinsics: (F, 3, 3) in units of the width and height.
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


def _beside_depth(images: npt.NDArray[np.uint8], log_depth: npt.NDArray[np.float16]) -> Iterator[npt.NDArray[np.uint8]]:
    """Put the coloured depth to the right of each frame; one colour range for the whole video avoids flicker."""
    known = log_depth[np.isfinite(log_depth)].astype(np.float32)
    low, high = np.quantile(known, _DEPTH_QUANTILES) if known.size else (0.0, 0.0)
    span = max(float(high - low), 1e-6)
    table = spectral_table()
    gap = np.full((images.shape[1], _GAP_PX, 3), 255, np.uint8)
    for image, depth in zip(images, log_depth, strict=True):
        share = np.clip((np.nan_to_num(depth.astype(np.float32), nan=high, posinf=high) - low) / span, 0.0, 1.0)
        index = np.minimum((len(table) * share).astype(np.int64), len(table) - 1)
        yield np.hstack([image, gap, table[index]])
