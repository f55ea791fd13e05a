from __future__ import annotations

import copy
import io
import logging
import pickle
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import (
    ImageDecodeError,
    ImageReadError,
    ImageSizeError,
    ImageTypeError,
    InvalidInputError,
    ShapeMismatchError,
)
from depth_anything_3.inputs.batch.records import PreparedImage
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.resample.cpu import resample_stepwise
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.images import encoded, exif_block, jpeg, largest_difference, write
from support.preprocess_golden import batches, golden_image

K = np.array([[300.0, 0, 60], [0, 310.0, 40], [0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def processor():
    with InputProcessor() as processor:
        yield processor


def reference(rgb: np.ndarray, process_res: int, method: str = "upper_bound_resize") -> np.ndarray:
    """The reference preprocessing of one image, uint8."""
    return resample_stepwise(rgb, plan_resize(rgb.shape[:2], process_res, method))


def test_batches_equal_the_reference(processor):
    for batch in batches():
        items = batch["items"]
        images = [golden_image(item) for item in items]
        matrices = np.array([item["intrinsics_in"] for item in items], np.float32)
        tensor, extrinsics, intrinsics = processor(
            images, None, matrices, batch["process_res"], batch["method"], perform_normalization=False
        )
        assert list(tensor.shape) == batch["tensor_shape"]
        assert extrinsics is None
        for item, rgb, result, matrix in zip(items, images, tensor, intrinsics, strict=True):
            whole = reference(rgb, batch["process_res"], batch["method"])
            top, left = item["crop_top_left"]
            cut = whole[top : top + tensor.shape[2], left : left + tensor.shape[3]]
            assert largest_difference(result.permute(1, 2, 0).numpy(), cut) <= 1
            np.testing.assert_allclose(matrix, item["intrinsics_out"], rtol=1e-6)
            if zlib.crc32(np.ascontiguousarray(cut).tobytes()) != item["crc32"]:
                np.testing.assert_allclose(cut.mean(axis=(0, 1)), item["mean"], atol=0.05)


def test_every_kind_of_input_gives_the_same_tensor(processor, tmp_path):
    data = encoded(photo(150, 100, 1), "PNG")
    path = write(tmp_path / "image.png", data)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    kinds = [
        str(path), path, data, bytearray(data), memoryview(data), Image.open(path), pixels,
        np.ascontiguousarray(pixels[..., ::-1])[..., ::-1], torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous(),
    ]  # fmt: skip
    tensor, _, _ = processor(kinds, process_res=112, perform_normalization=False)
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    for one in tensor:
        assert (one.int() - tensor[0].int()).abs().max() <= 1  # planar sums run in another order
    wanted = reference(pixels, 112)
    assert largest_difference(tensor[0].permute(1, 2, 0).numpy(), wanted) <= 1


def test_normalised_output_is_the_float_of_the_eight_bit_output(processor):
    images = [photo(90, 60, 1), photo(90, 60, 2)]
    as_float, _, _ = processor(images, process_res=70)
    as_bytes, _, _ = processor(images, process_res=70, perform_normalization=False)
    assert as_float.dtype == torch.float32
    assert as_float.shape == as_bytes.shape == (2, 3, 42, 70)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close((as_float * std + mean) * 255, as_bytes.float(), atol=1e-3, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(30, 200), st.integers(30, 200)), min_size=1, max_size=12), st.integers(1, 9))
def test_order_and_pixels_do_not_depend_on_the_number_of_workers(processor, sizes, workers):
    images = [photo(width, height, seed) for seed, (width, height) in enumerate(sizes)]
    with InputProcessor() as alone:
        one_by_one = list(alone.iterate(images, process_res=56, process_res_method="lower_bound_crop", num_workers=1))
    together = list(
        processor.iterate(images, process_res=56, process_res_method="lower_bound_crop", num_workers=workers)
    )
    assert [one.index for one in together] == list(range(len(images)))
    for a, b in zip(one_by_one, together, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)


def test_worker_processes_and_threads_agree(processor, tmp_path):
    inputs = [
        photo(120, 90, 0),
        jpeg(seed=1),
        write(tmp_path / "a.jpg", jpeg(seed=2)),
        Image.fromarray(photo(90, 120, 3)),
    ]
    bad = [b"nonsense", tmp_path / "missing.jpg"]
    threads = list(processor.iterate(inputs + bad, process_res=98, on_error="skip"))
    with InputProcessor() as in_processes:
        processes = list(
            in_processes.iterate(inputs + bad, process_res=98, num_workers=2, executor="process", on_error="skip")
        )
    for a, b in zip(threads[:4], processes[:4], strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert (a.index, a.label, a.plan) == (b.index, b.label, b.plan)
    assert [str(one.error) for one in threads[4:]] == [str(one.error) for one in processes[4:]]
    assert [type(one.error) for one in processes[4:]] == [ImageDecodeError, ImageReadError]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured_and_can_be_ignored(processor, orientation):
    data = jpeg(150, 100, exif=exif_block(orientation))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    stored = np.asarray(Image.open(io.BytesIO(data)))
    matrix = K[None]
    for image in (data, Image.open(io.BytesIO(data))):
        tensor, _, intrinsics = processor([image], None, matrix, 140, perform_normalization=False)
        assert largest_difference(tensor[0].permute(1, 2, 0).numpy(), reference(upright, 140)) <= 1
        plan = plan_resize(upright.shape[:2], 140)
        np.testing.assert_allclose(intrinsics[0], plan.transform_intrinsics(K), rtol=1e-6)
    tensor, _, _ = processor([data], process_res=140, perform_normalization=False, exif="ignore")
    assert largest_difference(tensor[0].permute(1, 2, 0).numpy(), reference(stored, 140)) <= 1


def test_a_tiff_is_not_rotated_twice(processor):
    image = Image.fromarray(photo(60, 40, 0))
    exif = image.getexif()
    exif[0x0112] = 6
    data = encoded(image, "TIFF", exif=exif)
    tensor, _, _ = processor([data, Image.open(io.BytesIO(data))], process_res=56, perform_normalization=False)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    for one in tensor:
        assert largest_difference(one.permute(1, 2, 0).numpy(), reference(upright, 56)) <= 1


def test_views_of_different_sizes_are_cropped_with_a_warning(processor, caplog):
    images = [photo(120, 90, 0), photo(90, 120, 1)]
    with caplog.at_level(logging.WARNING):
        tensor, _, _ = processor(images, process_res=112, perform_normalization=False)
    assert tensor.shape == (2, 3, 84, 84)
    assert "image 0 (array 90x120x3) 112x84" in caplog.text
    np.testing.assert_array_equal(
        tensor[0], processor(images[:1], process_res=112, perform_normalization=False).tensor[0, :, :, 14:98]
    )


def test_views_of_different_sizes_can_be_rejected(processor):
    with pytest.raises(ShapeMismatchError, match=r"112x84.*84x112") as caught:
        processor([photo(120, 90, 0), photo(90, 120, 1)], process_res=112, mixed_sizes="refuse")
    assert isinstance(caught.value, ValueError)


def test_cameras_follow_their_images_and_arguments_are_not_changed(processor):
    intrinsics = np.stack([K, 2 * K]).astype(np.float64)
    extrinsics = np.tile(np.eye(4), (2, 1, 1))
    before = intrinsics.copy(), extrinsics.copy()
    tensor, ext, ixt = processor([photo(120, 80, 0), photo(120, 80, 1)], extrinsics, intrinsics, 60, "upper_bound_crop")
    assert tensor.shape == (2, 3, 28, 56)
    assert ext.dtype == ixt.dtype == torch.float32
    np.testing.assert_array_equal(ext, extrinsics)
    np.testing.assert_allclose(ixt[0], [[150, 0, 28], [0, 155, 14], [0, 0, 1]], rtol=1e-6)
    np.testing.assert_array_equal(intrinsics, before[0])
    np.testing.assert_array_equal(extrinsics, before[1])


@pytest.mark.parametrize(
    ("cameras", "error", "message"),
    [
        ({"intrinsics": K[None]}, ShapeMismatchError, "intrinsics: 1 matrices for 2 images"),
        ({"extrinsics": np.zeros((3, 4, 4))}, ShapeMismatchError, "extrinsics: 3 matrices for 2 images"),
        ({"intrinsics": np.stack([K, K * np.nan])}, InvalidInputError, "intrinsics of image 1: contains NaN"),
        (
            {"extrinsics": np.full((2, 4, 4), np.inf)},
            InvalidInputError,
            "extrinsics of image 0: contains NaN or infinity",
        ),
        ({"extrinsics": np.zeros((2, 3, 4))}, InvalidInputError, r"must be \(N, 4, 4\), not \(2, 3, 4\)"),
        ({"intrinsics": "focal"}, InvalidInputError, "not an array of numbers"),
    ],
    ids=["too few", "too many", "NaN", "infinite", "3x4", "no numbers"],
)
def test_cameras_that_do_not_fit_are_rejected(processor, cameras, error, message):
    with pytest.raises(error, match=message):
        processor([photo(60, 60, 0)] * 2, process_res=56, **cameras)


def bad_inputs(folder: Path) -> dict[str, tuple[object, type, str]]:
    (folder / "folder.jpg").mkdir()
    truncated = jpeg(200, 150)
    sliver = encoded(np.zeros((2, 900, 3), np.uint8), "PNG")
    return {
        "missing file": (folder / "missing.jpg", ImageReadError, "missing.jpg: no such file"),
        "folder": (folder / "folder.jpg", ImageReadError, "folder.jpg: is a folder"),
        "empty file": (write(folder / "empty.jpg", b""), ImageReadError, "empty.jpg: the file is empty"),
        "text": (write(folder / "text.jpg", b"hello " * 99), ImageDecodeError, "text.jpg: not an image"),
        "truncated": (write(folder / "cut.jpg", truncated[:4000]), ImageDecodeError, "cut.jpg: truncated"),
        "no pixels": (np.zeros((0, 5, 3), np.uint8), ImageSizeError, "no pixels"),
        "dtype": (np.zeros((20, 20, 3)), ImageTypeError, "float64"),
        "channels": (np.zeros((20, 20, 7), np.uint8), ImageTypeError, "HxWx3"),
        "sliver": (write(folder / "sliver.png", sliver), ImageSizeError, "sliver"),
        "no image": (object(), ImageTypeError, "image 1 has type object"),
    }  # fmt: skip


def test_each_bad_input_raises_one_clear_error_and_can_be_skipped(processor, tmp_path):
    good = photo(60, 60, 0)
    for name, (bad, error, message) in bad_inputs(tmp_path).items():
        with pytest.raises(error, match=message):
            processor([good, bad, good], process_res=56)
        batch = processor(
            [good, bad, good], np.tile(np.eye(4), (3, 1, 1)) * [[[1]], [[2]], [[3]]], process_res=56, on_error="skip"
        )
        assert batch.tensor.shape == (2, 3, 56, 56), name
        assert [one.index for one in batch.images] == [0, 2]
        assert batch.extrinsics[:, 0, 0].tolist() == [1, 3]
        assert [(one.index, type(one.error)) for one in batch.failures] == [(1, error)]


def test_when_no_image_can_be_used_an_error_names_them_even_when_skipping(processor):
    with pytest.raises(ImageReadError, match=r"none of the 2 images.*a\.jpg: no such file; b\.jpg: no such file"):
        processor(["a.jpg", "b.jpg"], on_error="skip")
    with pytest.raises(ImageReadError, match=r"^a\.jpg: no such file"):
        processor(["a.jpg"], on_error="skip")


def test_an_empty_list_is_rejected(processor):
    with pytest.raises(InvalidInputError, match="empty"):
        processor([])


def test_a_processor_can_be_copied_and_pickled_after_use(processor):
    processor([photo(60, 60, 0)], process_res=56)
    for twin in (copy.deepcopy(processor), pickle.loads(pickle.dumps(processor))):
        assert twin([photo(60, 60, 0)], process_res=56).tensor.shape == (1, 3, 56, 56)
        twin.close()


def test_skipping_one_by_one_leaves_a_failure_in_its_place(processor):
    results = list(processor.iterate([photo(60, 60, 0), b"?", photo(60, 60, 1)], process_res=56, on_error="skip"))
    assert [isinstance(one, ImageFailure) for one in results] == [False, True, False]
    assert results[1].label == "image 1 (1 bytes)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": 0}, "num_workers=0"),
        ({"num_workers": 2.0}, "num_workers=2.0"),
        ({"on_error": "ignore"}, "'raise' or 'skip'"),
        ({"exif": True}, "'apply' or 'ignore'"),
        ({"process_res": 5}, "process_res=5"),
        ({"process_res_method": "fit"}, "upper_bound_resize"),
        ({"mixed_sizes": "stretch"}, "'crop', 'pad' or 'refuse'"),
    ],
    ids=str,
)
def test_options_that_are_not_accepted_are_rejected_before_reading(processor, options, message):
    with pytest.raises(InvalidInputError, match=message):
        processor(["never read.jpg"], **options)


def test_an_unknown_executor_is_rejected():
    with pytest.raises(InvalidInputError, match="'thread' or 'process'"):
        InputProcessor()([photo(60, 60, 0)], executor="fiber")


def test_warm_up_has_no_side_effects():
    with InputProcessor() as fresh:
        fresh.warm_up()
        assert fresh([photo(60, 60, 0)], process_res=56).tensor.shape == (1, 3, 56, 56)


def test_one_lazy_pil_image_may_occur_in_a_list_repeatedly(processor, tmp_path):
    path = write(tmp_path / "big.png", encoded(photo(900, 700, 0), "PNG"))
    batch = processor([Image.open(path)] * 1 + [image := Image.open(path)] + [image] * 6, process_res=98)
    assert batch.tensor.shape[0] == 8


def test_unusual_but_valid_inputs_are_accepted(processor):
    with_odd_exif = Image.fromarray(photo(60, 40, 0))
    with_odd_exif.info["exif"] = None
    data = jpeg(60, 40)
    spread = memoryview(np.repeat(np.frombuffer(data, np.uint8), 2))[::2]
    assert processor([with_odd_exif, spread], process_res=56).tensor.shape[0] == 2
    with InputProcessor() as in_processes:
        assert in_processes([memoryview(data)], process_res=56, num_workers=1, executor="process").tensor.shape[0] == 1


@pytest.mark.parametrize("options", [{"process_res": [98]}, {"process_res_method": [1]}, {"exif": {}}], ids=str)
def test_options_of_a_wrong_type_are_rejected_as_such(processor, options):
    with pytest.raises(InvalidInputError):
        processor([photo(60, 60, 0)], **options)


def test_a_closed_processor_restarts_when_used(processor):
    processor.close()
    assert processor([photo(60, 60, 0)], process_res=56).tensor.shape == (1, 3, 56, 56)


@pytest.mark.slow  # starts five processes
def test_a_killed_worker_costs_nothing_and_a_killing_image_fails_alone(tmp_path):
    images = [jpeg(60, 40, seed) for seed in range(12)]
    with InputProcessor() as processor:
        results = processor.iterate(images, process_res=56, num_workers=2, executor="process", on_error="skip")
        found = [next(results)]
        for worker in psutil.Process().children(recursive=True):
            if "spawn_main" in " ".join(worker.cmdline()):
                worker.kill()
        found += results
        assert [one.index for one in found] == list(range(12))
        assert all(isinstance(one, PreparedImage) for one in found)
        assert len(processor(images[:2], process_res=56).images) == 2
