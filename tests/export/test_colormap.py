"""Colours of depth: the colour maps, and fixed and shared ranges."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import ExportOptions, export, parse_formats
from depth_anything_3.export.colormap import Colormap, color_table, colorize_depth, inverse_depth_range
from depth_anything_3.export.format_options import depth_range_of, inverse_range
from depth_anything_3.prediction import Prediction

RAMP = np.linspace(1, 50, 300, dtype=np.float32).reshape(10, 30)


@pytest.mark.parametrize("name", [one.value for one in Colormap])
def test_a_colour_map_is_matplotlibs_with_the_nearest_depth_first(name):
    known = mpl.colormaps["Spectral" if name == "spectral" else f"{name}_r"](np.arange(256))[:, :3] * 255.0
    # Spectral is interpolated here as upstream does: from 11 colours of 8 bits, rounded down.
    assert np.abs(color_table(name) - known).max() <= (2.0 if name == "spectral" else 0.5001)


@pytest.mark.parametrize("name", [one.value for one in Colormap])
def test_invalid_depth_has_the_farthest_colour_of_every_map(name):
    depth = np.array(RAMP)
    depth[3, 4] = 0
    table, colors = color_table(name), colorize_depth(depth, colormap=name)
    assert colors[3, 4].tolist() == colors[-1, -1].tolist() == table[-1].tolist()
    assert colors[0, 0].tolist() == table[0].tolist()


def test_a_fixed_range_gives_equal_depth_equal_colours():
    scene = Prediction(depth=np.stack([RAMP, RAMP + 3]))
    fixed = inverse_range("2:20")
    first, second = (colorize_depth(depth, fixed, "turbo") for depth in scene.depth)
    table = color_table("turbo")
    assert (first[RAMP <= 2] == table[0]).all()
    assert (first[RAMP >= 20.5] == table[-1]).all()
    middle = colorize_depth(np.full((1, 1), 1 / 0.275, np.float32), fixed, "turbo")  # half way in inverse depth
    assert middle[0, 0].tolist() in table[126:130].tolist()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(colorize_depth(RAMP[:2], fixed, "turbo"), first[:2])


@pytest.mark.parametrize("value", ["5", "5:", "a:b", "5:1", "0:3", "-1:3", "1:2:3", "2:2", (3, 1), (1,), 7, "nan:3"])
def test_a_range_that_is_none_is_quoted(value):
    with pytest.raises(InvalidInputError, match=r"depth_range=.*nearest and the farthest depth.* such as 1:20"):
        ExportOptions(depth_range=value)


@pytest.mark.parametrize(
    ("inverse", "expected"),
    [((0.1, 0.5), (2, 10)), ((0.0, 0.5), (2, np.inf)), ((0.5, 0.5), (2, 2.000002)), ((0.0, 0.0), None)],
)
def test_a_range_of_inverse_depth_is_one_of_depth(inverse, expected):
    found = depth_range_of(inverse)
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-12))
    assert found is None or inverse_range(found) == pytest.approx(inverse, rel=2e-6)


def test_both_ranges_are_refused():
    with pytest.raises(InvalidInputError, match="depth_range and shared_range both set"):
        ExportOptions(depth_range="1:20", shared_range=True)


def test_an_unknown_colour_map_is_quoted_beside_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"colormap='jet' is unknown; choose 'spectral', .*'turbo' or 'gray'"):
        ExportOptions(colormap="jet")


def test_depth_color_is_a_png_of_the_depth_alone(tmp_path):
    options = ExportOptions(colormap="inferno", depth_range=(1, 20))
    (path,) = export(Prediction(depth=RAMP[None]), tmp_path, "depth_color", "a", options)
    assert path == tmp_path / "depth_color" / "a.png"
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(image, colorize_depth(RAMP, (1 / 20, 1), "inferno"))


@pytest.mark.parametrize("shared", [False, True])
def test_views_share_a_range_on_request(tmp_path, shared):
    scene = Prediction(depth=np.stack([RAMP, RAMP + 3]))
    paths = export(scene, tmp_path, "depth_color", options=ExportOptions(shared_range=shared))
    together = inverse_depth_range(scene.depth) if shared else None
    for path, depth in zip(paths, scene.depth, strict=True):
        np.testing.assert_array_equal(Image.open(path), colorize_depth(depth, together))


def test_the_depth_vis_of_glb_has_the_same_colours():
    options = ExportOptions(colormap="gray", export_kwargs={"depth_color": {"colormap": "turbo"}})
    glb, vis = (options.of(one) for one in parse_formats("glb-depth_vis"))
    assert (glb.colormap, vis.colormap) == (Colormap.GRAY, Colormap.GRAY)
    own = ExportOptions(export_kwargs={"depth_color": {"colormap": "turbo"}})
    assert own.of(parse_formats("depth_color")[0]).colormap is Colormap.TURBO
