"""Write `glb`: points and cameras as a glTF scene, for viewers."""

from __future__ import annotations

import colorsys
import json
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.export.format_options import ColorOptions, PointOptions, check_colors, check_percentile
from depth_anything_3.export.formats import depth_vis
from depth_anything_3.export.point_cloud import confidence_threshold, gather_points, homogeneous, inverse
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["GlbOptions", "add_pyramids", "alignment", "camera_colors", "camera_pyramid", "scene_size", "write"]

FloatArray = npt.NDArray[np.floating]

_OPENCV_TO_GLTF = np.diag([1.0, -1.0, -1.0, 1.0])  # x right, y up, z backward
_MIN_NOT_BLACK, _MIN_WHITE = 16, 240
_SATURATION, _VALUE = 0.85, 0.95


@dataclass(frozen=True)
class GlbOptions(ColorOptions, PointOptions):
    """Options of `glb`; those of `ColorOptions` are for `depth_vis`.

    Attributes:
        conf_thresh: lower bound of the confidence threshold.
        ensure_thresh_percentile: upper bound of the threshold, a percentile of confidence, 0 to 100.
        filter_black_bg, filter_white_bg: drop pixels that are nearly black or nearly white.
        show_cameras: draw each camera as a pyramid of lines.
        camera_size: of the pyramids, as a fraction of the scene's size.
        export_depth_vis: write `depth_vis` and `scene.jpg` too (for views; an independent image has neither).
    """

    conf_thresh: float = 1.05
    ensure_thresh_percentile: float = 90.0
    filter_black_bg: bool = False
    filter_white_bg: bool = False
    show_cameras: bool = True
    camera_size: float = 0.03
    export_depth_vis: bool = True

    def __post_init__(self) -> None:
        PointOptions.__post_init__(self)
        check_colors(self)
        check_percentile("ensure_thresh_percentile", self.ensure_thresh_percentile)


def write(prediction: Prediction, export_dir: Path, name: str | None, options: GlbOptions) -> list[Path]:
    """Write points around the origin, in the frame of view 0, and the cameras.

    `hf_alignment` (4x4) in the scene's extras transforms the world frame of the extrinsics to that of the file. For
    views also `depth_vis` and `scene.jpg` are written.

    Raises:
        UnsupportedError: trimesh is not installed.
        ExportError: a file cannot be written.
    """
    assert prediction.extrinsics is not None
    conf = _filtered_confidence(prediction, options)
    threshold = 0.0
    if conf is not None:
        threshold = confidence_threshold(
            conf,
            options.conf_thresh_percentile,
            minimum=options.conf_thresh,
            max_percentile=options.ensure_thresh_percentile,
        )
    cloud = gather_points(prediction, conf, threshold, options.num_max_points)
    to_file = alignment(cloud.points, homogeneous(prediction.extrinsics[:1])[0])
    points = _move(to_file, cloud.points)
    finite = np.isfinite(points).all(axis=1)
    assert cloud.colors is not None
    points, colors = points[finite], cloud.colors[finite]
    pyramids = _all_pyramids(prediction, to_file, scene_size(points) * options.camera_size)
    path = export_dir / "scene.glb" if name is None else export_dir / "glb" / f"{name}.glb"
    content = _scene(points, colors, pyramids if options.show_cameras else {}, len(prediction.depth), to_file)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    if name is not None or not options.export_depth_vis:
        return [path]
    images = depth_vis.write(prediction, export_dir, None, options)
    cover = export_dir / "scene.jpg"
    with atomic_write(cover) as temporary:
        shutil.copyfile(images[0], temporary)
    return [path, *images, cover]


def alignment(points: FloatArray, first_world_to_camera: FloatArray) -> npt.NDArray[np.float64]:
    """Compute `T M w2c_0`: the first camera's axes in glTF's convention, with the points' median at the origin.

    Args:
        points: (M, 3) in the world.
        first_world_to_camera: (4, 4).

    Returns:
        (4, 4).
    """
    to_file: npt.NDArray[np.float64] = _OPENCV_TO_GLTF @ np.asarray(first_world_to_camera, np.float64)
    if not np.isfinite(to_file).all():  # a pose from the ray map can be undefined
        to_file = np.array(_OPENCV_TO_GLTF)
    if len(points):
        to_file[:3, 3] -= np.median(_move(to_file, points), axis=0)
    return to_file


def scene_size(points: FloatArray, fallback: float = 1.0) -> float:
    """Compute the length of the diagonal between the 5th and 95th percentiles of (M, 3) points.

    Returns:
        The length; `fallback` if it is 0, or for fewer than two points.
    """
    if len(points) < 2:
        return fallback
    low, high = np.percentile(points, (5, 95), axis=0)
    size = float(np.linalg.norm(high - low))
    return size if size > 0 else fallback


def camera_pyramid(
    intrinsics: FloatArray, world_to_camera: FloatArray, size_hw: tuple[int, int], depth: float
) -> npt.NDArray[np.float64]:
    """Compute the edges (8, 2, 3) of a camera's pyramid in the world: centre to corners, then between corners."""
    height, width = size_hw
    corners = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], np.float64)
    rays = np.column_stack([corners, np.ones(4)]) @ inverse(intrinsics).T
    to_world = inverse(world_to_camera)
    rim = _move(to_world, rays / rays[:, 2:] * depth)
    centre = np.broadcast_to(to_world[:3, 3], (4, 3))
    return np.concatenate([np.stack([centre, rim], axis=1), np.stack([rim, np.roll(rim, -1, axis=0)], axis=1)])


def camera_colors(count: int) -> npt.NDArray[np.uint8]:
    """Choose colours of evenly spaced hues, (count, 3) uint8 RGB."""
    hues = [colorsys.hsv_to_rgb((view + 0.5) / count, _SATURATION, _VALUE) for view in range(count)]
    return (np.array(hues) * 255.0).astype(np.uint8)


def _move(pose: FloatArray, points: FloatArray) -> npt.NDArray[np.float64]:
    moved: npt.NDArray[np.float64] = points @ pose[:3, :3].T + pose[:3, 3]
    return moved


def _filtered_confidence(prediction: Prediction, options: GlbOptions) -> FloatArray | None:
    if prediction.conf is None or not (options.filter_black_bg or options.filter_white_bg):
        return prediction.conf
    assert prediction.processed_images is not None
    conf = np.array(prediction.conf)
    for view, image in zip(conf, prediction.processed_images, strict=True):
        if options.filter_black_bg:
            view[(image < _MIN_NOT_BLACK).all(axis=-1)] = 1.0
        if options.filter_white_bg:
            view[(image >= _MIN_WHITE).all(axis=-1)] = 1.0
    return conf


def _all_pyramids(prediction: Prediction, to_file: FloatArray, depth: float) -> dict[int, FloatArray]:
    """Compute the edges of every finite camera, in the file's frame."""
    assert prediction.extrinsics is not None
    assert prediction.intrinsics is not None
    height, width = prediction.depth.shape[1:]
    pyramids: dict[int, FloatArray] = {}
    for view, (pose, matrix) in enumerate(zip(homogeneous(prediction.extrinsics), prediction.intrinsics, strict=True)):
        if np.isfinite(pose).all() and np.isfinite(matrix).all():
            edges = camera_pyramid(matrix, pose, (height, width), depth)
            pyramids[view] = _move(to_file, edges.reshape(-1, 3)).reshape(edges.shape)
    return pyramids


def _scene(
    points: FloatArray, colors: npt.NDArray[np.uint8], pyramids: dict[int, FloatArray], views: int, to_file: FloatArray
) -> bytes:
    """Make the content of the GLB file."""
    try:
        import trimesh
    except ImportError as missing:
        raise UnsupportedError("glb needs trimesh: pip install trimesh") from missing
    extras = {"hf_alignment": to_file.tolist()}
    if not len(points) and not pyramids:
        return _empty(extras)
    scene = trimesh.Scene(metadata=extras)
    if len(points):
        scene.add_geometry(trimesh.PointCloud(vertices=points, colors=colors), geom_name="points")
    add_pyramids(scene, pyramids, views)
    content: Any = scene.export(file_type="glb")  # Any: depends on the file type
    return bytes(content)


def add_pyramids(scene: Any, pyramids: Mapping[int, FloatArray], views: int) -> None:  # Any: a trimesh.Scene
    """Add pyramids to a scene as `camera_0000` and so on, each in the colour of its view.

    Args:
        scene: the scene of trimesh to add them to.
        pyramids: edges (8, 2, 3) by view.
        views: number of views.
    """
    from trimesh.path import Path3D
    from trimesh.path.entities import Line

    hues = camera_colors(views)
    for view, edges in pyramids.items():
        lines = [Line([2 * edge, 2 * edge + 1], color=(*hues[view].tolist(), 255)) for edge in range(len(edges))]
        camera = Path3D(entities=lines, vertices=edges.reshape(-1, 3), process=False)
        scene.add_geometry(camera, geom_name=f"camera_{view:04d}")


def _empty(extras: dict[str, Any]) -> bytes:  # Any: plain JSON values
    """Make an empty scene, which trimesh cannot write: a header and one chunk of JSON."""
    text = json.dumps({"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"extras": extras}]}).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text
