from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.batch.preparer import ImagePreparer, ScratchBuffer
from depth_anything_3.inputs.decode.cpu.decode import decode
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.images import encoded, exif_block, jpeg, largest_difference

RGB = photo(61, 47, 3)


def decoded(data: bytes, label: str = "x") -> np.ndarray:
    return decode(data, probe(data, label), label).pixels


def as_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(RGB, "JPEG", quality=75, subsampling=2), id="4:2:0"),
        pytest.param(encoded(RGB, "JPEG", quality=95, subsampling=1), id="4:2:2"),
        pytest.param(encoded(RGB, "JPEG", quality=95, subsampling=0), id="4:4:4"),
        pytest.param(encoded(RGB, "JPEG", progressive=True), id="progressive"),
        pytest.param(encoded(RGB[..., 0], "JPEG"), id="grey JPEG"),
        pytest.param(encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), id="CMYK JPEG"),
        pytest.param(encoded(RGB, "PNG"), id="PNG"),
        pytest.param(encoded(np.dstack([RGB, RGB[..., 0]]), "PNG"), id="PNG with alpha"),
        pytest.param(encoded(Image.fromarray(RGB).quantize(16), "PNG"), id="palette PNG"),
        pytest.param(encoded(Image.fromarray(RGB).convert("1"), "PNG"), id="1-bit PNG"),
        pytest.param(encoded(RGB, "WEBP", lossless=True), id="WebP"),
        pytest.param(encoded(RGB, "BMP"), id="BMP"),
        pytest.param(encoded(RGB, "TIFF"), id="TIFF"),
        pytest.param(encoded(RGB, "GIF"), id="GIF"),
    ],
)
def test_pixels_equal_the_reference_decoder(data):
    pixels = decoded(data)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, as_pillow(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pixels_come_as_stored_whatever_the_orientation_says(kind):
    turned = decoded(encoded(RGB, kind, exif=exif_block(6)))
    np.testing.assert_array_equal(turned, decoded(encoded(RGB, kind)))


def test_sixteen_bit_grey_is_scaled_and_not_clipped_to_white():
    ramp = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    wanted = np.rint(ramp / 257.0).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        pixels = decoded(encoded(ramp, kind))
        assert largest_difference(pixels[..., 0], wanted) <= 1, kind


def test_floating_point_samples_are_rejected_with_a_hint():
    with pytest.raises(ImageDecodeError, match=r"depth\.tif: floating-point samples.*scale"):
        decoded(encoded(np.ones((8, 8), np.float32), "TIFF"), "depth.tif")


def test_the_first_frame_of_an_animation_is_decoded():
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(first, kind, save_all=True, append_images=[second])
        np.testing.assert_array_equal(decoded(data), as_pillow(data))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_rejected_by_name(kind, share):
    data = encoded(photo(200, 150, 1), kind)
    with pytest.raises(ImageDecodeError, match=r"cut\.img: (truncated|damaged)"):
        decoded(data[: int(share * len(data))], "cut.img")


def test_a_jpeg_truncated_anywhere_raises_only_package_errors():
    data = jpeg(200, 150)
    for length in range(2, 900):
        with pytest.raises(ImageDecodeError, match=r"cut\.jpg"):
            decoded(data[:length], "cut.jpg")


def test_a_jpeg_without_its_end_marker_is_rejected():
    with pytest.raises(ImageDecodeError, match="truncated JPEG"):
        decoded(jpeg()[:-2])


def test_a_twelve_bit_jpeg_is_rejected():
    data = bytearray(jpeg())
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageDecodeError):
        decoded(bytes(data))


def test_the_format_is_recognised_by_content_and_never_by_name():
    png = cv2.imencode(".png", RGB[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(decoded(png, "really_a_png.jpg"), RGB)


# The scratch buffer


@pytest.mark.parametrize("reduced_by", [1, 2, 4, 8])
def test_a_jpeg_is_decoded_into_the_memory_given(reduced_by):
    data = jpeg(211, 133, 3)
    memory = np.empty(4 * 133 * 211, np.uint8)
    given = decode(data, probe(data, "a.jpg"), "a.jpg", reduced_by=reduced_by, memory=memory).pixels
    own = decode(data, probe(data, "a.jpg"), "a.jpg", reduced_by=reduced_by).pixels
    assert given.shape == own.shape == (-(-133 // reduced_by), -(-211 // reduced_by), 3)
    assert np.shares_memory(given, memory)
    assert not np.shares_memory(own, memory)
    np.testing.assert_array_equal(given, own)


def test_memory_that_is_too_small_is_not_used():
    data, memory = jpeg(64, 48, 4), np.zeros(3 * 64 * 48 - 1, np.uint8)
    pixels = decode(data, probe(data, "a.jpg"), "a.jpg", memory=memory).pixels
    assert pixels.shape == (48, 64, 3)
    assert not memory.any()


def test_scratch_buffers_grow_per_thread_up_to_a_bound():
    scratch = ScratchBuffer()
    small, large = scratch(100), scratch(1000)
    assert scratch(500) is large
    assert len(small) >= 100
    assert scratch(10**9) is None
    with ThreadPoolExecutor(1) as other:
        assert not np.shares_memory(other.submit(scratch, 1000).result(), large)


def test_a_prepared_image_outlives_the_scratch_buffer():
    files = [jpeg(320, 240, seed) for seed in range(4)]
    with InputProcessor() as processor:
        results = list(processor.iterate(files, process_res=112, num_workers=1))
    for index, file in enumerate(files):
        np.testing.assert_array_equal(
            results[index].pixels, ImagePreparer(PreprocessOptions(process_res=112))(0, file).pixels
        )


def test_returned_pixels_belong_to_the_caller():
    preparer = ImagePreparer(PreprocessOptions(process_res=112), scratch=ScratchBuffer())
    one, other = (preparer.decode(preparer.open(0, jpeg(320, 240, seed))).data for seed in (1, 2))
    assert not np.shares_memory(one, other)
