"""One range of the colours for all images of a run."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ExportError, ImageDecodeError, InvalidInputError
from depth_anything_3.export import ExportOptions, load_prediction
from depth_anything_3.export.colormap import colorize_depth, inverse_depth_range
from depth_anything_3.export.format_options import inverse_range
from depth_anything_3.jobs.manifest import Manifest
from depth_anything_3.jobs.shared_range import DepthHistogram, with_shared_range
from support.command import files_in
from support.jobs import run_images
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 2}
SHARED = ExportOptions(shared_range=True)
KINDS = (("npz", "npz"), ("depth_color", "png"), ("depth_vis", "jpg"))


@pytest.fixture
def paths(tmp_path):
    """Three images of unlike depth."""
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for index, (path, image) in enumerate(zip(files, seeded_images_uint8(3, 42, 56, seed=3), strict=True)):
        Image.fromarray(image // (1 + 3 * index)).save(path)
    return files


def test_all_images_have_the_range_of_the_run(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    report = run_images(seeded_small, paths, out, "npz-depth_color-depth_vis", export_options=SHARED, **SMALL)
    depths = [load_prediction(out / "npz" / f"{index}.npz").depth for index in range(3)]
    options = with_shared_range(SHARED, depths)
    assert inverse_range(options.depth_range) == pytest.approx(inverse_depth_range(np.stack(depths)), rel=0.02)
    names = [[f"{kind}/{index}.{suffix}" for kind, suffix in KINDS] for index in range(3)]
    assert files_in(out) == sorted(name for one in names for name in one)  # nothing that was held is left
    for index, depth in enumerate(depths):
        expected = colorize_depth(depth[0], inverse_range(options.depth_range)).astype(int)
        found = np.asarray(Image.open(out / "depth_color" / f"{index}.png"), int)
        assert np.abs(found - expected).max() <= 16  # npz rounds depth, which can change the row of the table
        with Image.open(out / "depth_vis" / f"{index}.jpg") as image:
            assert image.size == (2 * depth.shape[2], depth.shape[1])
        assert sorted(report.records[index].outputs) == sorted(str(out / one) for one in names[index])
        record = Manifest(out).record("image", str(index))
        assert sorted(record.outputs) == sorted(names[index])
    assert not list(out.glob(".*"))


def test_images_before_an_error_are_coloured(seeded_small, paths, tmp_path):
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    with pytest.raises(ImageDecodeError, match=r"1\.png"):
        run_images(seeded_small, paths, tmp_path / "out", "depth_color", export_options=SHARED, **SMALL)
    assert files_in(tmp_path / "out") == ["depth_color/0.png"]


def test_a_disk_that_is_full_leaves_nothing_that_was_held(seeded_small, paths, tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        raise ExportError("0.png: cannot be written (no space left on device)")

    monkeypatch.setattr("depth_anything_3.export.formats.depth_color.write_image", fail)
    with pytest.raises(ExportError, match="no space left"):
        run_images(seeded_small, paths[:1], tmp_path / "out", "depth_color", export_options=SHARED, **SMALL)
    assert not list((tmp_path / "out").glob(".*"))


def test_resuming_is_refused_with_the_reason(seeded_small, paths, tmp_path):
    with pytest.raises(InvalidInputError, match="shared_range=True does not work with resume=True: the range depends"):
        run_images(seeded_small, paths, tmp_path / "out", "depth_color", export_options=SHARED, resume=True, **SMALL)
    left = tmp_path / "out" / f".{'0' * 32}.spool"  # by a run that was killed
    left.mkdir(parents=True)
    (left / "0.npz").touch()
    run_images(seeded_small, paths[:1], tmp_path / "out", "npz", export_options=SHARED, resume=True, **SMALL)
    assert not left.exists()


def test_the_range_of_many_images_is_their_percentiles_and_each_counts_the_same():
    rng = np.random.default_rng(0)
    depths = [rng.uniform(*limits, (40, 50)).astype(np.float32) for limits in ((0.5, 3), (2, 9), (1, 70))]
    histogram = DepthHistogram()
    for depth in depths:
        histogram.add(depth)
    expected = np.percentile(np.concatenate([one.ravel() for one in depths]), (2, 98))
    assert histogram.depth_range() == pytest.approx(tuple(expected), rel=0.01)
    larger = DepthHistogram()
    for depth in (*depths[:2], np.repeat(depths[2], 5, axis=0)):
        larger.add(depth)
    assert larger.depth_range() == histogram.depth_range()


@pytest.mark.parametrize("depth", [np.zeros((4, 5)), np.full((4, 5), np.nan), np.ones((2, 5))])
def test_without_valid_depth_there_is_no_range(depth):
    histogram = DepthHistogram()
    histogram.add(depth)
    assert histogram.depth_range() is None


def test_one_depth_is_a_range():
    histogram = DepthHistogram()
    histogram.add(np.full((4, 5), 2.5))
    near, far = histogram.depth_range()
    assert near <= 2.5 <= far < near * 1.002
