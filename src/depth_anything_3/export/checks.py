"""What each format needs: what a prediction holds or will hold in, an error that says what is possible instead out."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.export.gsplat_rasterizer import check_cuda
from depth_anything_3.export.options import ExportOptions
from depth_anything_3.export.registry import ExportFormat, parse_formats
from depth_anything_3.model.catalog import DepthKind, models_that
from depth_anything_3.prediction import Prediction

__all__ = ["Contents", "check_formats"]

_NO_PATH = re.compile(r"image \d+ \(.*\)")  # how a source that is no path is labelled


@dataclass(frozen=True)
class Contents:
    """What a prediction holds, or will hold.

    Attributes:
        views: how many; None: not known yet.
        images: the pictures that the network saw.
        poses, intrinsics: of the cameras.
        gaussians: 3D Gaussians were asked for, and the model predicts them.
        features: layers of the backbone were asked for.
        paths: every source is a file.
        cropped: `process_res_method` is one that crops.
        model: named in messages.
    """

    views: int | None = None
    images: bool = True
    poses: bool = True
    intrinsics: bool = True
    gaussians: bool = False
    features: bool = False
    paths: bool = True
    cropped: bool = False
    model: str = "this model"

    @classmethod
    def of(cls, prediction: Prediction) -> Contents:
        """What a prediction holds. Whether its pictures were cropped is not known of it."""
        return cls(
            views=len(prediction.depth),
            images=prediction.processed_images is not None,
            poses=prediction.extrinsics is not None,
            intrinsics=prediction.intrinsics is not None,
            gaussians=prediction.gaussians is not None,
            features=bool(prediction.aux),
            paths=bool(prediction.sources) and not any(_NO_PATH.fullmatch(one) for one in prediction.sources),
            model="this prediction",
        )


@dataclass(frozen=True)
class _Needs:
    """What a format needs of `Contents`, by the same names, and packages with the extra that brings each."""

    images: bool = False
    poses: bool = False
    intrinsics: bool = False
    gaussians: bool = False
    features: bool = False
    paths: bool = False
    packages: tuple[tuple[str, str | None], ...] = ()


_NEEDS: dict[ExportFormat, _Needs] = {
    ExportFormat.DEPTH_VIS: _Needs(images=True),
    ExportFormat.EXR: _Needs(packages=(("OpenEXR", "exr"),)),
    ExportFormat.FEAT_VIS: _Needs(images=True, features=True),
    ExportFormat.PLY: _Needs(intrinsics=True),
    ExportFormat.GLB: _Needs(images=True, poses=True, intrinsics=True, packages=(("trimesh", None),)),
    ExportFormat.COLMAP: _Needs(images=True, poses=True, intrinsics=True, paths=True),
    ExportFormat.GS_PLY: _Needs(gaussians=True),
    ExportFormat.GS_VIDEO: _Needs(
        gaussians=True, poses=True, intrinsics=True, packages=(("gsplat", "gsplat"), ("av", "video"))
    ),
}

_HINTS = {
    "images": "the pictures, but {model} has none (processed_images); a results.npz has them, a mini_npz has not",
    "poses": "camera poses, which {model} has not; take {with_poses}, "
    "or write depth alone: npz, depth_png, tiff, exr, or ply of a picture whose intrinsics are given",
    "intrinsics": "the camera's focal length, which {model} has not; give intrinsics, or take "
    "{with_poses}, which predict it, or {canonical} with --metric",
    "gaussians": "3D Gaussians, which are predicted on request; pass infer_gs=True with "
    "{with_gaussians}, "
    "or write points: ply, glb",
    "features": "features of the backbone; pass export_feat_layers, such as [11]",
    "paths": "images that are files, since it names them; pass paths where depth is computed (results.npz keeps none), "
    "or write glb or ply",
}


def check_formats(
    formats: str | Iterable[ExportFormat], contents: Contents, options: ExportOptions | None = None
) -> tuple[ExportFormat, ...]:
    """Refuse formats that cannot be written, before anything is computed.

    Args:
        formats: names joined with '-', or formats.
        contents: what the prediction will hold.
        options: as for `export`.

    Returns:
        The formats.

    Raises:
        InvalidInputError: a format or an option is unknown, or an option's value is not accepted.
        UnsupportedError: a format needs what will not be there, or a package that is not installed.
    """
    options = ExportOptions() if options is None else options
    chosen = parse_formats(formats) if isinstance(formats, str) else tuple(formats)
    for one in chosen:
        options.of(one)
        _check_format(one, contents)
    return chosen


def _hint(need: str, model: str) -> str:
    return _HINTS[need].format(
        model=model,
        with_poses=models_that(lambda card: card.has_poses),
        with_gaussians=models_that(lambda card: card.has_gaussians),
        canonical=models_that(lambda card: card.depth_kind is DepthKind.CANONICAL),
    )


def _check_format(one: ExportFormat, contents: Contents) -> None:
    needs = _NEEDS.get(one, _Needs())
    for need in fields(needs):
        if need.name in _HINTS and getattr(needs, need.name) and not getattr(contents, need.name):
            raise UnsupportedError(f"{one.value} needs {_hint(need.name, contents.model)}")
    if one is ExportFormat.PLY and not contents.poses and contents.views != 1:
        raise UnsupportedError(
            f"ply of several views needs camera poses, which {contents.model} has not; "
            "compute the pictures independently (da3 images without --scene, or `stream`): each gets a ply of its own"
        )
    if one is ExportFormat.COLMAP and contents.cropped:
        raise UnsupportedError(
            "colmap needs whole pictures: their cameras are given in pixels of the files; "
            "take process_res_method upper_bound_resize or lower_bound_resize in place of *_crop"
        )
    for package, extra in needs.packages:
        if importlib.util.find_spec(package) is None:
            hint = f"pip install {package}" if extra is None else f"pip install 'depth-anything-3-fast[{extra}]'"
            raise UnsupportedError(f"{one.value} needs the package {package}, which is not installed: {hint}")
    if one is ExportFormat.GS_VIDEO:
        check_cuda()
