"""`DepthAnything3` takes one image, a folder, a pattern, an array of images or a list, and writes results by name."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.errors import ExportError, ImageDecodeError, ImageReadError, InvalidInputError, UnsupportedError
from depth_anything_3.export import load_prediction
from depth_anything_3.prediction import Prediction
from support.images import jpeg, write
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 28, "num_workers": 1}
(IMAGE,) = seeded_images_uint8(1, 28, 28, seed=3)


@pytest.fixture
def folder(tmp_path):
    """A folder with two images and one in a subfolder."""
    (tmp_path / "photos/sub").mkdir(parents=True)
    for seed, name in enumerate(("b.jpg", "a.jpg", "sub/a.jpg")):
        write(tmp_path / "photos" / name, jpeg(28, 28, seed))
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def expected(seeded_small):
    return seeded_small.inference([IMAGE], **SMALL)


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "open file", "PIL", "array", "tensor"])
def test_one_image_gives_one_prediction(seeded_small, tmp_path, expected, kind):
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "PNG")
    file.seek(0)
    path = write(tmp_path / "photo.png", file.getvalue())
    image = {
        "path": path,
        "str": str(path),
        "bytes": file.getvalue(),
        "open file": file,
        "PIL": Image.fromarray(IMAGE),
        "array": IMAGE,
        "tensor": torch.from_numpy(IMAGE).permute(2, 0, 1),
    }[kind]
    prediction = seeded_small.depth(image, **SMALL)
    assert isinstance(prediction, Prediction)
    np.testing.assert_array_equal(prediction.depth, expected.depth)


def test_one_image_is_one_view_one_result_of_a_stream_and_one_batch(seeded_small, expected):
    np.testing.assert_array_equal(seeded_small.inference(IMAGE, **SMALL).depth, expected.depth)
    (streamed,) = seeded_small.stream(IMAGE, **SMALL)
    (listed,) = seeded_small.depth([IMAGE], **SMALL)
    done = []
    (batched,) = seeded_small.batch_inference(IMAGE, 28, num_workers=1, progress_callback=lambda *one: done.append(one))
    for one in (streamed, listed, batched):
        np.testing.assert_array_equal(one.depth, expected.depth)
    assert done == [(1, 1)]
    assert tuple(seeded_small.input_processor(IMAGE, process_res=28).tensor.shape) == (1, 3, 28, 28)


def test_a_function_as_input_processor_takes_one_image_and_open_files(seeded_small, expected):
    given = []
    plain = seeded_small.input_processor

    def process(images, *args, **kwargs):
        given.append(images)
        return plain(images, *args, **kwargs)

    seeded_small.input_processor = process
    try:
        np.testing.assert_array_equal(seeded_small.depth(IMAGE, **SMALL).depth, expected.depth)
        assert seeded_small.inference(io.BytesIO(jpeg(28, 28)), **SMALL).depth.shape == (1, 28, 28)
        with pytest.raises(ImageReadError, match="is empty, or was read to its end"):
            seeded_small.inference([io.BytesIO()], **SMALL)
        labels = [one.sources[0] for one in seeded_small.depth([IMAGE, IMAGE], **SMALL)]
    finally:
        seeded_small.input_processor = None
    assert labels == ["image 0 (array 28x28x3)", "image 1 (array 28x28x3)"]
    assert given[0][0] is IMAGE
    assert isinstance(given[1][0], bytes)


def test_an_open_file_may_be_closed_once_stream_has_returned(seeded_small):
    with io.BytesIO(jpeg(28, 28)) as file:
        predictions = seeded_small.stream(file, **SMALL)
    assert len(list(predictions)) == 1


def test_one_image_that_cannot_be_used_raises_even_if_images_are_skipped(seeded_small):
    with pytest.raises(ImageReadError, match=r"gone\.jpg: no such file"):
        seeded_small.depth("gone.jpg", on_error="skip", **SMALL)
    assert seeded_small.depth(["gone.jpg"], on_error="skip", **SMALL) == []
    for on_error in ("skip", "raise"):  # neither skips it, so there is no hint to skip
        with pytest.raises(ImageDecodeError) as raised:
            seeded_small.depth(jpeg(28, 28)[:400], on_error=on_error, **SMALL)
        assert "on_error" not in str(raised.value)


def test_folders_patterns_and_batches_give_lists_or_views(seeded_small, folder):
    paths = [str(folder / one) for one in ("a.jpg", "b.jpg")]
    assert [one.sources[0] for one in seeded_small.depth(folder, **SMALL)] == paths
    assert seeded_small.inference(str(folder / "?.jpg"), **SMALL).sources == tuple(paths)
    assert isinstance(seeded_small.depth(folder / "sub", **SMALL), list)
    assert len(seeded_small.depth(np.stack([IMAGE] * 2), **SMALL)) == 2
    with pytest.raises(InvalidInputError, match="no files ending in"):
        seeded_small.stream(str(folder / "*.gif"), **SMALL)


# Results on disk


def test_results_are_written_under_the_names_of_the_images_before_they_are_yielded(seeded_small, folder, tmp_path):
    out = folder / "out"
    predictions = seeded_small.stream(
        str(folder / "**/*.jpg"), export_dir=out, export_format="mini_npz-depth_vis", **SMALL
    )
    assert not out.exists()
    written = sorted(["a", "b", "sub/a"])
    found = []
    for prediction in predictions:
        found.append(prediction.depth)
        assert len(list(out.glob("mini_npz/**/*.npz"))) == len(found)
    assert sorted(one.relative_to(out).as_posix() for one in out.rglob("*.*")) == [
        *(f"depth_vis/{one}.jpg" for one in written),
        *(f"mini_npz/{one}.npz" for one in written),
    ]
    np.testing.assert_allclose(load_prediction(out / "mini_npz/a.npz").depth, found[0], rtol=1e-6)  # it rounds
    # The results inside the folder are not images of it.
    assert len(seeded_small.depth(str(folder / "**/*.jpg"), export_dir=out, **SMALL)) == 3


def test_no_two_images_of_a_call_share_a_name(seeded_small, folder, tmp_path):
    named = io.BytesIO(jpeg(28, 28))
    named.name = "a.jpg"
    images = [folder / "a.jpg", folder / "sub/a.jpg", named, IMAGE, folder / "a.jpg"]
    seeded_small.depth(images, export_dir=str(tmp_path / "out"), **SMALL)
    names = sorted(one.stem for one in (tmp_path / "out/mini_npz").iterdir())
    assert len(names) == 5
    assert {"a", "a_2", "image_0003"} < set(names)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"export_dir": "out", "export_format": "obj"}, InvalidInputError, "export_format='obj' is unknown"),
        ({"export_dir": "out", "export_format": "gs_ply"}, UnsupportedError, "gs_ply needs 3D Gaussians"),
        ({"export_dir": "out", "num_max_points": 0}, InvalidInputError, "num_max_points=0"),
        ({"export_dir": __file__}, ExportError, "a file, so results cannot be written there"),
        ({"export_format": "npz"}, InvalidInputError, "export_format without export_dir"),
        ({"export_dirs": "out"}, InvalidInputError, "no argument 'export_dirs'; did you mean 'export_dir'"),
    ],
)
def test_what_cannot_be_written_is_refused_before_an_image_is_read(seeded_small, options, error, message):
    with pytest.raises(error, match=message):
        seeded_small.stream(["gone.jpg"], **options, **SMALL)


def test_colmap_of_pixels_in_memory_is_refused_before_anything_is_computed(seeded_small, tmp_path):
    with pytest.raises(UnsupportedError, match="colmap needs the names of the image files"):
        seeded_small.stream([IMAGE], export_dir=tmp_path / "out", export_format="colmap", **SMALL)


def test_options_of_writers_without_effect_are_named(seeded_small, caplog):
    seeded_small.stream([], show_cameras=False, **SMALL)
    assert caplog.messages == ["show_cameras: no effect without export_dir"]
