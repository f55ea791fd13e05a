"""The registry of formats: one row a format, from which help, documentation and files follow."""

from __future__ import annotations

import importlib
import sys

import pytest
from typer.testing import CliRunner

import depth_anything_3
from depth_anything_3 import cli
from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export import ExportOptions, export, formats, registry, result_files
from depth_anything_3.export.fields import ARCHIVE_FIELDS, FRAME_FIELDS, AvailableFields, RequiredFields
from depth_anything_3.export.registry import (
    FORMATS,
    ExportFormat,
    find_format,
    format_names,
    formats_for,
    formats_table,
    options_table,
    parse_formats,
)
from depth_anything_3.model.catalog import MODEL_CARDS

TOY_MODULE = """
from dataclasses import dataclass

from depth_anything_3.export.format_options import FormatOptions


@dataclass(frozen=True)
class ToyOptions(FormatOptions):
    unit: str = "m"


def write(prediction, export_dir, name, options):
    path = export_dir / "toy" / f"{name or 'scene'}.txt"
    path.parent.mkdir(parents=True)
    path.write_text(f"{prediction.depth.max():.2f} {options.unit}")
    return [path]
"""
TOY_ROW = ExportFormat(
    name="toy",
    help="the greatest depth as text",
    writer="toy:write",
    suffix=".txt",
    views_files=("toy/scene.txt",),
    read_by="people",
    required=RequiredFields(poses=True),
    options="toy:ToyOptions",
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A format added as a contributor adds one: a module in the folder of formats, and a row."""
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats" / "toy.py").write_text(TOY_MODULE)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path / "formats")])
    monkeypatch.setattr(registry, "FORMATS", (*FORMATS, TOY_ROW))
    yield TOY_ROW
    sys.modules.pop(f"{formats.__name__}.toy", None)


@pytest.fixture
def help_of_images(monkeypatch):
    """Prints the help of `da3 images` from a fresh import of the command, as when it starts."""

    def run() -> str:
        monkeypatch.setattr(depth_anything_3, "cli", cli)  # restored later, as are its modules
        for name in [one for one in sys.modules if one.startswith(cli.__name__)]:
            monkeypatch.delitem(sys.modules, name)
        return CliRunner().invoke(importlib.import_module(cli.__name__).app, ["images", "--help"]).output

    return run


def test_a_module_and_a_row_make_a_format(toy, help_of_images, plane_scene, tmp_path):
    assert "toy: the greatest depth as text" in help_of_images()
    assert (
        "| `toy` | the greatest depth as text | `toy/scene.txt` | `toy/NAME.txt` | poses | people |" in formats_table()
    )
    assert "| `toy` | `unit` (m) |" in options_table()
    written = export(plane_scene, tmp_path / "out", "npz-toy")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == [
        "exports/npz/results.npz",
        "toy/scene.txt",
    ]
    assert written[1].read_text() == f"{plane_scene.depth.max():.2f} m"


def test_a_new_format_has_options_checks_and_result_files(toy, plane_scene, tmp_path):
    options = ExportOptions(export_kwargs={"toy": {"unit": "ft"}})
    written = export(plane_scene, tmp_path / "out", "toy", "a", options)
    assert written == result_files(tmp_path / "out", "toy", "a", options)
    assert written[0].read_text().endswith(" ft")
    plane_scene.extrinsics = None
    with pytest.raises(UnsupportedError, match="toy needs camera poses"):
        export(plane_scene, tmp_path / "out", "toy")


def test_without_its_row_the_format_is_unknown(help_of_images):
    assert "toy" not in help_of_images()
    with pytest.raises(InvalidInputError, match="'toy' is unknown"):
        parse_formats("toy")


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_every_row_names_what_exists(one):
    assert callable(registry._load(one.writer))
    assert one.options_class()()
    assert one.file_names is None or callable(registry._load(one.file_names))
    assert len(f"{one.name}: {one.help}") <= 46, "one line of help in 80 columns"


def test_names_are_unique():
    assert len({one.name for one in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize(
    "given",
    ["npz-depth_vis", ["npz", "depth_vis"], ("npz", find_format("depth_vis")), "npz-npz--depth_vis-"],
    ids=["string", "list", "mixed", "repeated"],
)
def test_formats_are_parsed_once_to_rows(given):
    rows = parse_formats(given)
    assert rows == (find_format("npz"), find_format("depth_vis"))
    assert parse_formats(rows) == rows


@pytest.mark.parametrize("given", [[], ["obj"], "obj"], ids=str)
def test_an_unknown_or_missing_format_is_an_error(given):
    with pytest.raises(InvalidInputError, match="is unknown; join some of these with '-': mini_npz, npz"):
        parse_formats(given)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            ARCHIVE_FIELDS,
            "mini_npz, npz, depth_png, depth_vis, depth_color, tiff, exr, ply, glb",
            id="read-back-from-npz",
        ),
        pytest.param(FRAME_FIELDS, "mini_npz, npz, depth_png, depth_vis, depth_color, tiff, exr, ply, glb", id="frame"),
        pytest.param(
            AvailableFields.expected(MODEL_CARDS["da3mono-large"], views=2),
            "mini_npz, npz, depth_png, depth_vis, depth_color, tiff, exr",
            id="mono",
        ),
        pytest.param(
            AvailableFields.expected(MODEL_CARDS["da3mono-large"], views=1, intrinsics=True),
            "mini_npz, npz, depth_png, depth_vis, depth_color, tiff, exr, ply",
            id="mono-with-intrinsics",
        ),
        pytest.param(
            AvailableFields.expected(MODEL_CARDS["da3-giant"], gaussians=True, features=True),
            format_names(),
            id="everything",
        ),
    ],
)
def test_available_fields_decide_which_formats_can_be_written(fields, expected):
    assert format_names(formats_for(fields)) == expected
