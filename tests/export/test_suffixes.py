"""The format of a single file follows from its suffix."""

from __future__ import annotations

from pathlib import Path

import pytest

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.suffixes import format_of_suffix


@pytest.mark.parametrize(
    ("path", "formats", "name"),
    [
        ("a.npz", None, "npz"),
        ("a.npz", "mini_npz", "mini_npz"),
        ("A.TIF", None, "tiff"),
        ("a.jpeg", None, "depth_vis"),
        ("a.png", "depth_png", "depth_png"),
        ("a.b.ply", None, "ply"),
        ("a.ply", "gs_ply", "gs_ply"),
        ("-", "exr", "exr"),
    ],
)
def test_a_suffix_or_a_name_selects_a_format(path, formats, name):
    assert format_of_suffix(Path(path), formats).name == name


@pytest.mark.parametrize(
    ("path", "formats", "message"),
    [
        ("a.bmp", None, r"^a.bmp: the suffix '.bmp' is unknown; give one of .*\.npz"),
        ("-", None, "^-: without a suffix it has no format"),
        ("a.png", "tiff", r"^a.png: files of tiff end in .tiff"),
        ("a.npz", "npz-tiff", "^a.npz: npz-tiff writes several files"),
        ("a.bin", "colmap", "^a.bin: colmap writes several files"),
        ("a.png", "png", "did you mean"),
    ],
)
def test_other_suffixes_and_names_are_refused(path, formats, message):
    with pytest.raises(InvalidInputError, match=message):
        format_of_suffix(Path(path), formats)
