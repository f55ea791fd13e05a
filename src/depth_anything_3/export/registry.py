"""The formats that results are written in, and the string that joins their names."""

from __future__ import annotations

from enum import Enum

from depth_anything_3.errors import InvalidInputError

__all__ = ["ExportFormat", "parse_formats"]


class ExportFormat(str, Enum):
    """What can be written; see docs/exports.md."""

    MINI_NPZ = "mini_npz"
    NPZ = "npz"
    DEPTH_PNG = "depth_png"
    DEPTH_VIS = "depth_vis"
    TIFF = "tiff"
    EXR = "exr"
    FEAT_VIS = "feat_vis"
    PLY = "ply"
    GLB = "glb"
    COLMAP = "colmap"
    GS_PLY = "gs_ply"
    GS_VIDEO = "gs_video"


def parse_formats(names: str) -> tuple[ExportFormat, ...]:
    """The formats in a string such as "npz-depth_vis".

    Raises:
        InvalidInputError: a name is unknown.
    """
    known = {one.value: one for one in ExportFormat}
    parts = [part for part in names.split("-") if part]
    unknown = [part for part in parts if part not in known]
    if unknown or not parts:
        raise InvalidInputError(
            f"export format {unknown[0] if unknown else names!r} is unknown; "
            f"join some of these with '-': {', '.join(known)}"
        )
    return tuple(dict.fromkeys(known[part] for part in parts))
