"""Limits of file and image size, and truncated files decoded in part."""

from __future__ import annotations

import io
import pickle
import threading

import numpy as np
import pytest
from PIL import Image, ImageFile

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageDecodeError, ImageSizeError, InvalidInputError
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.decode.cpu.pillow import truncated_allowed
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.fake_gpu import Opener, gpu_with
from support.images import encoded, jpeg, write

RGB = photo(90, 60, 4)


def cut(kind: str, share: float = 0.6) -> bytes:
    data = encoded(RGB, kind)
    return data[: int(share * len(data))]


@pytest.mark.parametrize(
    "options",
    [{"max_pixels": 0}, {"max_pixels": 1.5}, {"max_pixels": True}, {"max_bytes": -1}, {"max_bytes": "1 GB"},
     {"allow_truncated": "yes"}],
)  # fmt: skip
def test_an_invalid_limit_is_rejected(options):
    (name,) = options
    with pytest.raises(InvalidInputError, match=f"{name}=.*: give"):
        InputProcessor()([RGB], **options)


@pytest.mark.parametrize("as_path", [True, False], ids=["path", "bytes"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_pixels": 90 * 60 - 1}, "states 90x60 pixels, more than the limit of 5,399.*raise max_pixels"),
        ({"max_bytes": 100}, "bytes, more than the limit of 100.*raise max_bytes"),
    ],
    ids=["pixels", "bytes"],
)
def test_images_beyond_a_limit_are_rejected(tmp_path, as_path, options, message):
    data = encoded(RGB, "PNG")
    image = write(tmp_path / "a.png", data) if as_path else data
    with pytest.raises(ImageSizeError, match=message):
        InputProcessor()([image], **options)
    assert len(InputProcessor()([image], max_pixels=90 * 60, max_bytes=len(data)).images) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM"])
def test_a_truncated_file_is_decoded_like_pillow_with_its_flag(kind, monkeypatch):
    data = cut(kind)
    with pytest.raises(ImageDecodeError, match=r"truncated .* allow_truncated=True"):
        ImagePreparer()(0, data)
    opened = ImagePreparer(PreprocessOptions(allow_truncated=True)).open(0, data)
    decoded = ImagePreparer().decode(opened)
    pixels = decoded.data
    assert [one.startswith("image 0 ") for one in decoded.warnings] == [True]
    assert "decoded as far as possible" in decoded.warnings[0]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert (pixels != RGB).any()


def test_every_strategy_gives_the_same_for_a_truncated_file():
    files = [jpeg(120, 80, 1), cut("JPEG"), jpeg(120, 80, 2)[:-2], cut("PNG")]
    options = {"process_res": 56, "allow_truncated": True, "num_workers": 2}
    (expected, _, _) = InputProcessor()(files, perform_normalization=False, **options)
    gpu = GPUInputProcessor("cpu", capabilities=gpu_with("exact"), open_decoder=Opener())
    for strategy in ("gpu_decode", "hybrid", "full_gpu"):
        batch = gpu(files, perform_normalization=False, strategy=strategy, **options)
        assert int((batch.tensor.int() - expected.int()).abs().max()) <= 1, strategy


def test_a_truncated_file_rejected_by_a_gpu_decoder_is_decoded_in_part():
    """The decoder sees an end marker and takes the file; then it finds that the data is cut."""
    data = cut("JPEG") + b"\0" * 20 + b"\xff\xd9"
    gpu = GPUInputProcessor("cpu", capabilities=gpu_with("picky"), open_decoder=Opener())
    options = {"process_res": 56, "allow_truncated": True, "perform_normalization": False}
    batch = gpu([data], strategy="gpu_decode", **options)
    assert batch.images[0].choice.strategy == "hybrid"
    assert (batch.tensor == InputProcessor()([data], **options).tensor).all()


def test_a_truncated_pil_image_is_decoded_as_far_as_possible():
    def opened() -> Image.Image:
        return Image.open(io.BytesIO(cut("PNG")))

    with pytest.raises(ImageDecodeError, match="truncated"):
        InputProcessor()([opened()], process_res=56)
    assert len(InputProcessor()([opened()], process_res=56, allow_truncated=True).images) == 1


def test_pillows_flag_is_unchanged_for_other_threads_and_afterwards():
    seen = []
    with truncated_allowed():
        other = threading.Thread(target=lambda: seen.append(bool(ImageFile.LOAD_TRUNCATED_IMAGES)))
        other.start()
        other.join()
        seen.append(bool(ImageFile.LOAD_TRUNCATED_IMAGES))
    seen.append(bool(ImageFile.LOAD_TRUNCATED_IMAGES))
    assert seen == [False, True, False]


def test_concurrent_first_calls_lose_no_images(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    with truncated_allowed():
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # the other one has read it before, and now sets its own

        def other() -> None:
            with truncated_allowed():
                pass

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert bool(ImageFile.LOAD_TRUNCATED_IMAGES)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_worker_process_gets_the_limits_too():
    options = PreprocessOptions(max_pixels=7, max_bytes=8, allow_truncated=True)
    assert pickle.loads(pickle.dumps(ImagePreparer(options))).options == options


def test_an_image_too_large_for_memory_fails_alone(monkeypatch):
    def greedy(*_, **__):
        raise MemoryError

    monkeypatch.setattr("depth_anything_3.inputs.batch.preparer.decode", greedy)
    batch = InputProcessor()([RGB, jpeg()], process_res=56, on_error="skip")
    assert [str(one.error) for one in batch.failures] == [
        f"image 1 ({len(jpeg()):,} bytes): not enough memory to decode 120x80 pixels; reduce num_workers, "
        "or lower max_pixels to reject such images"
    ]
