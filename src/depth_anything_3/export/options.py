"""What can be asked of each format: `ExportOptions` in, the options of one format out, checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.registry import ExportFormat
from depth_anything_3.runtime.choice import StringEnum, positive_int

__all__ = [
    "ColmapOptions",
    "ExportOptions",
    "FeatVisOptions",
    "FormatOptions",
    "GlbOptions",
    "GsPlyOptions",
    "GsVideoOptions",
    "PointOptions",
    "TrjMode",
    "VideoQuality",
    "VisDepth",
]

logger = logging.getLogger(__name__)


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


class VideoQuality(StringEnum):
    """How much a rendered video is compressed."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class VisDepth(StringEnum):
    """Whether depth stands beside the colours of a rendered video."""

    HCAT = "hcat"
    NONE = "none"


@dataclass(frozen=True)
class FormatOptions:
    """Of the formats that have none, and the base of those that have some."""


@dataclass(frozen=True)
class PointOptions(FormatOptions):
    """Of point clouds (`ply`).

    Attributes:
        conf_thresh_percentile: of all confidences, 0 to 100; what lies below is left out.
        num_max_points: most points; more are thinned out at random, with a fixed seed. None keeps all.
    """

    conf_thresh_percentile: float = 40.0
    num_max_points: int | None = 1_000_000

    def __post_init__(self) -> None:
        _check_percentile("conf_thresh_percentile", self.conf_thresh_percentile)
        if self.num_max_points is not None:
            _check_least("num_max_points", self.num_max_points, 1)


@dataclass(frozen=True)
class ColmapOptions(PointOptions):
    """Of `colmap`.

    Attributes:
        text: write `.txt` files in place of `.bin`.
    """

    text: bool = False


@dataclass(frozen=True)
class GlbOptions(PointOptions):
    """Of `glb`.

    Attributes:
        conf_thresh: least threshold of confidence, whatever the percentile says.
        ensure_thresh_percentile: the threshold is no higher than this percentile, 0 to 100, so that points remain.
        filter_black_bg, filter_white_bg: leave out pixels that are nearly black or nearly white.
        show_cameras: draw each camera as a pyramid of lines.
        camera_size: of the pyramids, as a share of the scene's size.
        export_depth_vis: write `depth_vis` and `scene.jpg` too (of a scene; independent images have no use for it).
    """

    conf_thresh: float = 1.05
    ensure_thresh_percentile: float = 90.0
    filter_black_bg: bool = False
    filter_white_bg: bool = False
    show_cameras: bool = True
    camera_size: float = 0.03
    export_depth_vis: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_percentile("ensure_thresh_percentile", self.ensure_thresh_percentile)


@dataclass(frozen=True)
class FeatVisOptions(FormatOptions):
    """Of `feat_vis`.

    Attributes:
        fps: frames per second of the video.
    """

    fps: int = 15

    def __post_init__(self) -> None:
        _check_least("feat_vis_fps", self.fps, 1)


@dataclass(frozen=True)
class GsPlyOptions(FormatOptions):
    """Of `gs_ply`.

    Attributes:
        gs_views_interval: the Gaussians of every how many views are kept; None: of twelve views or so in all.
    """

    gs_views_interval: int | None = 1

    def __post_init__(self) -> None:
        if self.gs_views_interval is not None:
            _check_least("gs_views_interval", self.gs_views_interval, 1)


@dataclass(frozen=True)
class GsVideoOptions(FormatOptions):
    """Of `gs_video`.

    Attributes:
        extrinsics: (F, 4, 4) or (F, 3, 4) world-to-camera poses to render from, or the same with a leading axis of 1;
            None: the predicted ones.
        intrinsics: (F, 3, 3) in pixels of `out_image_hw`, or the same with a leading axis of 1.
        out_image_hw: (height, width) of the frames; None: of the depth.
        trj_mode: what is made of the poses. A single pose is always wandered about.
        chunk_size: frames rendered together.
        vis_depth: depth in colour to the right of each frame ("hcat"), or not ("none", None).
        video_quality: "high", "medium" or "low".
    """

    extrinsics: Any = None  # Any: an array or tensor
    intrinsics: Any = None
    out_image_hw: tuple[int, int] | None = None
    trj_mode: TrjMode = TrjMode.EXTEND
    chunk_size: int = 4
    vis_depth: VisDepth | None = VisDepth.HCAT
    video_quality: VideoQuality = VideoQuality.HIGH

    def __post_init__(self) -> None:
        object.__setattr__(self, "trj_mode", TrjMode(self.trj_mode))
        object.__setattr__(self, "video_quality", VideoQuality(self.video_quality))
        object.__setattr__(self, "vis_depth", VisDepth("none" if self.vis_depth is None else self.vis_depth))
        _check_least("chunk_size", self.chunk_size, 1)
        _check_cameras(self.extrinsics, self.intrinsics)
        if self.out_image_hw is not None:
            _check_size(self.out_image_hw)


_OPTIONS: dict[ExportFormat, type[FormatOptions]] = {
    ExportFormat.PLY: PointOptions,
    ExportFormat.GLB: GlbOptions,
    ExportFormat.COLMAP: ColmapOptions,
    ExportFormat.FEAT_VIS: FeatVisOptions,
    ExportFormat.GS_PLY: GsPlyOptions,
    ExportFormat.GS_VIDEO: GsVideoOptions,
}
_SHARED = ("conf_thresh_percentile", "num_max_points", "show_cameras")
_RENAMED = {
    ExportFormat.FEAT_VIS: {"fps": "feat_vis_fps"},
    ExportFormat.GS_VIDEO: {"extrinsics": "render_exts", "intrinsics": "render_ixts", "out_image_hw": "render_hw"},
}


@dataclass(frozen=True, eq=False)
class ExportOptions:
    """How results are written; the defaults are upstream's.

    Attributes:
        conf_thresh_percentile, num_max_points: of `ply`, `glb` and `colmap`, see `PointOptions`.
        show_cameras: of `glb`.
        feat_vis_fps: frames per second of the videos of `feat_vis`.
        render_exts, render_ixts, render_hw: cameras of `gs_video`, see `GsVideoOptions`.
        export_kwargs: what else a format takes, as `{format: {name: value}}`. What has a name above is given there: it
            wins, as upstream does it.
    """

    conf_thresh_percentile: float = 40.0
    num_max_points: int | None = 1_000_000
    show_cameras: bool = True
    feat_vis_fps: int = 15
    render_exts: Any = None  # Any: an array or tensor
    render_ixts: Any = None
    render_hw: tuple[int, int] | None = None
    export_kwargs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Told of any format, also one that has no use for it.
        PointOptions(self.conf_thresh_percentile, self.num_max_points)
        FeatVisOptions(self.feat_vis_fps)

    def of(self, one: ExportFormat) -> FormatOptions:
        """The options of one format.

        Raises:
            InvalidInputError: `export_kwargs` names a format or option that is unknown, or a value is not accepted.
        """
        self._check_names()
        kind = _OPTIONS.get(one, FormatOptions)
        given = dict(self.export_kwargs.get(one.value, {}))
        parameters = {name: name for name in _SHARED} | _RENAMED.get(one, {})
        for name in {option.name for option in fields(kind)} & set(parameters):
            value = getattr(self, parameters[name])
            if value is None and one is ExportFormat.GS_VIDEO:
                continue  # not given
            if name in given and repr(given[name]) != repr(value):
                logger.warning("export_kwargs: %s of %s is overruled by %s", name, one.value, parameters[name])
            given[name] = value
        return kind(**given)

    def _check_names(self) -> None:
        known_formats = [one.value for one in ExportFormat]
        for format_name, given in self.export_kwargs.items():
            if format_name not in known_formats:
                raise InvalidInputError(
                    f"export_kwargs: {format_name!r} is no format; there are: {', '.join(known_formats)}"
                )
            known = [option.name for option in fields(_OPTIONS.get(ExportFormat(format_name), FormatOptions))]
            for name in given:
                if name not in known:
                    there = f"it has: {', '.join(known)}" if known else "it has none"
                    raise InvalidInputError(f"export_kwargs: {format_name} has no option {name!r}; {there}")


def _check_cameras(extrinsics: Any, intrinsics: Any) -> None:  # Any: arrays, tensors, or None
    """Refuse cameras to render from that are not one pose and one matrix a frame."""
    if (extrinsics is None) != (intrinsics is None):
        raise InvalidInputError("render_exts and render_ixts are given together, or neither")
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


def _check_percentile(name: str, value: float) -> None:
    if not 0 <= value <= 100:
        raise InvalidInputError(f"{name}={value!r} is a percentile; give 0 to 100")


def _check_least(name: str, value: int, least: int) -> None:
    positive_int(name, value, minimum=least)
