"""`DepthAnything3.inference`: the views of one scene, with and without given cameras, good and bad arguments."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.api import DepthAnything3, choose_device
from depth_anything_3.errors import ImageReadError, InvalidInputError, ShapeMismatchError, UnsupportedError
from support.images import jpeg, write
from support.seeded_values import seeded_cameras, seeded_images_uint8

SIZE = (56, 84)
SMALL = {"process_res": 84, "num_workers": 2}


@pytest.fixture(scope="module")
def views():
    return list(seeded_images_uint8(4, *SIZE, seed=1))


@pytest.fixture(scope="module")
def cameras():
    return seeded_cameras(4, *SIZE, seed=2)


def scaled_error(actual, expected):
    return np.abs(actual.astype(np.float64) - expected).max() / np.abs(expected).max()


# What comes back


def test_every_field_has_the_documented_shape_and_type(seeded_small, views):
    prediction = seeded_small.inference(views[:2], export_feat_layers=[3], **SMALL)
    described = {
        name: (value.dtype.name, value.shape)
        for name, value in vars(prediction).items()
        if isinstance(value, np.ndarray)
    }
    assert described == {
        "depth": ("float32", (2, 56, 84)),
        "conf": ("float32", (2, 56, 84)),
        "extrinsics": ("float32", (2, 3, 4)),
        "intrinsics": ("float32", (2, 3, 3)),
        "processed_images": ("uint8", (2, 56, 84, 3)),
    }
    assert {name: value.shape for name, value in prediction.aux.items()} == {"feat_layer_3": (2, 4, 6, 384)}
    assert prediction.source_hw == (SIZE, SIZE)
    assert prediction.seconds.keys() == {"decode", "resample", "network"}
    assert prediction.failures == ()
    np.testing.assert_array_equal(prediction.processed_images, views[:2])


def test_warnings_name_their_view(seeded_small, tmp_path):
    good, data = write(tmp_path / "good.jpg", jpeg()), jpeg(seed=1)
    bad = write(tmp_path / "bad.jpg", data[: len(data) // 2] + b"\xff\xd9")
    warning = f"{bad}: damaged JPEG, part of which may be wrong (premature end of data segment)"
    assert seeded_small.inference([good, bad, good], **SMALL).warnings == (warning,)
    assert [one.warnings for one in seeded_small.stream([good, bad], **SMALL)] == [(), (warning,)]
    assert [one.warnings for _, one in seeded_small.stream_video([good, bad], **SMALL)] == [(), (warning,)]


def test_views_of_one_scene_see_each_other(seeded_small, views):
    together = seeded_small.inference(views[:2], **SMALL).depth[0]
    alone = seeded_small.inference(views[:1], **SMALL).depth[0]
    assert scaled_error(together, alone) > 1e-2


def as_path(array, folder):
    Image.fromarray(array).save(folder / "view.png")
    return folder / "view.png"


def as_bytes(array, _folder):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "label"),
    [
        pytest.param(as_path, "{folder}/view.png", id="path"),
        pytest.param(lambda array, folder: str(as_path(array, folder)), "{folder}/view.png", id="string"),
        pytest.param(as_bytes, r"image 1 (", id="bytes"),
        pytest.param(lambda array, _: Image.fromarray(array), "image 1 (PIL RGB 84x56)", id="pil"),
        pytest.param(
            lambda array, _: torch.from_numpy(array).permute(2, 0, 1), "image 1 (tensor 3x56x84)", id="tensor"
        ),
    ],
)
def test_one_image_gives_one_result_in_every_form(seeded_small, views, tmp_path, make, label):
    expected = seeded_small.inference(views[:2], **SMALL)
    prediction = seeded_small.inference([views[0], make(views[1], tmp_path)], **SMALL)
    np.testing.assert_array_equal(prediction.depth, expected.depth)
    assert expected.sources == ("image 0 (array 56x84x3)", "image 1 (array 56x84x3)")
    assert prediction.sources[1].startswith(label.format(folder=tmp_path))


def test_exif_orientation_is_honoured_unless_ignored(seeded_small, tmp_path):
    upright = seeded_images_uint8(1, 84, 56, seed=5)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    stored = np.ascontiguousarray(np.rot90(upright))
    Image.fromarray(stored).save(tmp_path / "phone.png", exif=exif)
    turned = seeded_small.inference([tmp_path / "phone.png"], **SMALL)
    assert turned.source_hw == ((84, 56),)
    np.testing.assert_array_equal(turned.depth, seeded_small.inference([upright], **SMALL).depth)
    ignored = seeded_small.inference([tmp_path / "phone.png"], exif="ignore", **SMALL)
    assert ignored.source_hw == ((56, 84),)
    np.testing.assert_array_equal(ignored.depth, seeded_small.inference([stored], **SMALL).depth)


def test_views_of_mixed_sizes_are_cropped_with_a_warning_or_refused(seeded_small, views, caplog):
    mixed = [views[0], views[1][:42]]
    with caplog.at_level(logging.WARNING):
        assert seeded_small.inference(mixed, **SMALL).depth.shape == (2, 42, 84)
    assert "all are cropped to 84x42" in caplog.text
    with pytest.raises(ShapeMismatchError, match="different sizes"):
        seeded_small.inference(mixed, mixed_sizes="refuse", **SMALL)


def test_results_are_written_where_and_as_asked(seeded_small, views, tmp_path):
    prediction = seeded_small.inference(views[:2], export_dir=tmp_path / "out", export_format="npz-depth_vis", **SMALL)
    with np.load(tmp_path / "out" / "exports" / "npz" / "results.npz") as file:
        np.testing.assert_array_equal(file["depth"], np.round(prediction.depth, 6))
    assert len(list((tmp_path / "out" / "depth_vis").iterdir())) == 2


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "float16"], ids=str)
def test_low_precision_moves_depth_a_little_and_leaves_weights_alone(seeded_small, small_checkpoint, views, dtype):
    model = DepthAnything3.from_pretrained(small_checkpoint, "cpu", dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    depth = model.inference(views[:2], **SMALL).depth
    assert depth.dtype == np.float32
    # Measured 4e-4 for float16 and 5e-3 for bfloat16; float32 repeats itself exactly.
    assert 1e-5 < scaled_error(depth, seeded_small.inference(views[:2], **SMALL).depth) < 3e-2


# Given cameras


@pytest.mark.parametrize("count", [1, 2, 4])
def test_given_poses_come_back_with_depth_in_their_unit(seeded_small, views, cameras, count):
    extrinsics, intrinsics = (matrices[:count] for matrices in cameras)
    prediction = seeded_small.inference(views[:count], extrinsics, intrinsics, **SMALL)
    np.testing.assert_array_equal(prediction.extrinsics, extrinsics[:, :3])
    np.testing.assert_array_equal(prediction.intrinsics, intrinsics)
    assert np.isfinite(prediction.depth).all()
    assert (prediction.depth > 0).all()


def test_depth_follows_the_unit_of_the_given_poses(seeded_small, views, cameras):
    extrinsics, intrinsics = cameras
    in_millimetres = extrinsics.copy()
    in_millimetres[:, :3, 3] *= 1000
    metres = seeded_small.inference(views, extrinsics, intrinsics, **SMALL).depth
    millimetres = seeded_small.inference(views, in_millimetres, intrinsics, **SMALL).depth
    assert scaled_error(millimetres / 1000, metres) < 1e-3


def test_poses_in_map_coordinates_give_the_same_depth(seeded_small, views, cameras):
    near, intrinsics = cameras[0].astype(np.float64), cameras[1]
    u, _, vt = np.linalg.svd(near[:, :3, :3])
    near[:, :3, :3] = u @ vt  # rotations to the last digit, as they must be for this
    far = near.copy()
    far[:, :3, 3] -= near[:, :3, :3] @ [500_000, 4_000_000, 100]  # all cameras moved by this
    expected = seeded_small.inference(views, near, intrinsics, **SMALL).depth
    for given in (far, torch.from_numpy(far), far.tolist()):
        assert scaled_error(seeded_small.inference(views, given, intrinsics, **SMALL).depth, expected) < 1e-4


def test_without_alignment_the_poses_move_and_depth_stays(seeded_small, views, cameras):
    aligned = seeded_small.inference(views, *cameras, **SMALL)
    free = seeded_small.inference(views, *cameras, align_to_input_ext_scale=False, **SMALL)
    assert free.extrinsics.shape == (4, 4, 4)
    ratio = free.depth / aligned.depth
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-5)
    given, moved = (np.linalg.inv(np.asarray(poses, np.float64))[:, :3, 3] for poses in (cameras[0], free.extrinsics))
    distances = [np.linalg.norm(centres[1:] - centres[0], axis=1) for centres in (given, moved)]
    np.testing.assert_allclose(distances[1] / distances[0], ratio.flat[0], rtol=1e-4)


def test_intrinsics_follow_the_resize(seeded_small, views, cameras):
    extrinsics, intrinsics = cameras
    doubled = [np.asarray(Image.fromarray(view).resize((168, 112))) for view in views]
    prediction = seeded_small.inference(doubled, extrinsics, intrinsics * [[2], [2], [1]], **SMALL)
    np.testing.assert_allclose(prediction.intrinsics, intrinsics, rtol=1e-6)


def test_a_skipped_view_takes_its_camera_with_it(seeded_small, views, cameras, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    extrinsics, intrinsics = cameras
    prediction = seeded_small.inference(
        [views[0], tmp_path / "broken.jpg", views[2], views[3]], extrinsics, intrinsics, on_error="skip", **SMALL
    )
    kept = [0, 2, 3]
    expected = seeded_small.inference([views[i] for i in kept], extrinsics[kept], intrinsics[kept], **SMALL)
    np.testing.assert_array_equal(prediction.extrinsics, extrinsics[kept][:, :3])
    np.testing.assert_array_equal(prediction.depth, expected.depth)
    (failure,) = prediction.failures
    assert (failure.index, failure.label) == (1, str(tmp_path / "broken.jpg"))
    assert "broken.jpg" in str(failure.error)


def test_when_no_view_can_be_read_the_first_reason_is_raised(seeded_small):
    with pytest.raises(ImageReadError, match=r"gone_1\.jpg: no such file"):
        seeded_small.inference(["gone_1.jpg", "gone_2.jpg"], on_error="skip", **SMALL)


# Arguments that are not accepted


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"extrinsics": np.eye(4)[None]}, "extrinsics need intrinsics", id="extrinsics-alone"),
        pytest.param(
            {"extrinsics": np.zeros((1, 4, 4)), "intrinsics": np.eye(3)[None]},
            "extrinsics of image 0: is singular",
            id="no-pose",
        ),
        pytest.param({"ref_view_strategy": "best"}, "'best'.*saddle_balanced", id="ref-view-strategy"),
        pytest.param({"export_feat_layers": [12]}, r"\[12\].* 0 to 11", id="export-feat-layers"),
        pytest.param({"process_res": 13}, "13", id="process-res"),
        pytest.param({"process_res_method": "stretch"}, "'stretch'.*upper_bound_resize", id="process-res-method"),
        pytest.param({"on_error": "ignore"}, "'ignore'.*'raise' or 'skip'", id="on-error"),
        pytest.param({"exif": "yes"}, "'yes'.*'apply' or 'ignore'", id="exif"),
        pytest.param({"mixed_sizes": "fit"}, "'fit'.*'crop', 'pad' or 'refuse'", id="mixed-sizes"),
        pytest.param({"num_workers": 0}, "num_workers=0", id="num-workers"),
        pytest.param({"export_dir": "out", "export_format": "obj"}, "'obj'.*depth_png", id="export-format"),
    ],
)
def test_an_argument_that_is_not_accepted_is_quoted_with_what_is(seeded_small, views, options, told):
    with pytest.raises(InvalidInputError, match=told):
        seeded_small.inference(views[:1], **(SMALL | options))


def test_gaussians_are_refused_until_there_are_some(seeded_small, views):
    with pytest.raises(UnsupportedError, match="infer_gs"):
        seeded_small.inference(views[:1], infer_gs=True, **SMALL)


@pytest.mark.parametrize("image", [[], None], ids=["empty", "None"])
def test_no_image_is_rejected(seeded_small, image):
    with pytest.raises(InvalidInputError, match="list"):
        seeded_small.inference(image, **SMALL)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"'da3-huge'.*da3-small, da3-base"):
        DepthAnything3("da3-huge")


# Devices and types


@pytest.mark.parametrize("device", [None, "auto", "cpu", torch.device("cpu")], ids=str)
def test_the_device_can_be_left_open_or_named(device):
    chosen = choose_device(device)
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert chosen.type == (best if device in (None, "auto") else "cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", 1.5], ids=repr)
def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(device):
    with pytest.raises(InvalidInputError, match=rf"^device='{device}' .+; this machine has 'auto', 'cpu'"):
        DepthAnything3.from_pretrained("/no/such/checkpoint", device)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is such a device here")
def test_a_rejected_device_is_reported_without_pytorch_internals():
    with pytest.raises(InvalidInputError) as caught:
        choose_device("mps")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("dtype", ["half", "int8", torch.float64, 16], ids=repr)
def test_a_type_that_is_not_accepted_is_refused_before_anything_is_loaded(dtype):
    with pytest.raises(InvalidInputError, match="is unknown; choose 'auto', 'float32', 'bfloat16', 'float16'"):
        DepthAnything3.from_pretrained("/no/such/checkpoint", "cpu", dtype)
