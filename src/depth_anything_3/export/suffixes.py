"""Choose the format of a single file by its suffix."""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.registry import FORMATS, ExportFormat, parse_formats

__all__ = ["format_of_suffix", "suffixes"]

_ALIASES = {".jpeg": ".jpg", ".tif": ".tiff"}
_PREFERRED = ("depth_color", "depth_vis", "npz", "ply")
"""What people expect of a suffix that several formats have; the first that has it counts."""


def suffixes() -> dict[str, ExportFormat]:
    """Map each suffix to the format that it means: `.png` to coloured depth, `.npz` to npz."""
    single = [one for one in FORMATS if one.file_names is None and not one.needs_cuda]
    single.sort(key=lambda one: _PREFERRED.index(one.name) if one.name in _PREFERRED else len(_PREFERRED))
    found: dict[str, ExportFormat] = {}
    for one in single:
        found.setdefault(one.suffix, one)
    return found


def format_of_suffix(path: Path, formats: str | None = None) -> ExportFormat:
    """Choose the format of a file by its suffix, or check that a format has this suffix.

    Args:
        path: the file; without a suffix it may hold any format.
        formats: name of the format; None: that of the suffix.

    Raises:
        InvalidInputError: the suffix is unknown, or the format has another one, or it writes several files.
    """
    suffix = path.suffix.lower()
    wanted = _ALIASES.get(suffix, suffix)
    if formats is None:
        if wanted not in suffixes():
            known = ", ".join(suffixes())
            if not suffix:
                raise InvalidInputError(
                    f"{path}: without a suffix it has no format; pass export_format, give one of {known}, or for a "
                    "folder pass export_dir"
                )
            raise InvalidInputError(f"{path}: the suffix {suffix!r} is unknown; give one of {known}, or name a format")
        return suffixes()[wanted]
    chosen, *more = parse_formats(formats)
    if more or chosen.file_names is not None:
        raise InvalidInputError(f"{path}: {formats} writes several files; choose one format with one, or give a folder")
    if suffix and chosen.suffix != wanted:
        raise InvalidInputError(
            f"{path}: files of {chosen.name} end in {chosen.suffix}; rename it, or choose another format"
        )
    return chosen
