"""What GPU decoders need to know of a JPEG's header, and what they reject because of it."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.header import ImageHeader, JpegCoding, JpegProcess, probe
from support.images import encoded, exif_block, jpeg

RGB = photo(64, 48, 5)


def coding(data: bytes) -> JpegCoding:
    found = probe(data, "x.jpg").jpeg
    assert found
    return found


def with_markers(*, jfif: bool, adobe: int | None, names: bytes) -> bytes:
    """A 4:4:4 JPEG with exactly these signs of what its components are."""
    data = bytearray(jpeg(64, 48, subsampling=0))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for place in range(3):
        data[frame + 10 + 3 * place] = data[scan + 5 + 2 * place] = names[place]
    signs = b"" if adobe is None else b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([adobe])
    after_jfif = 4 + int.from_bytes(data[4:6], "big")
    return bytes(data[: after_jfif if jfif else 2]) + signs + bytes(data[after_jfif:])


@pytest.mark.parametrize(
    ("jfif", "adobe", "names", "stored_as_rgb"),
    [
        (True, None, b"\1\2\3", False),
        (True, None, b"RGB", False),
        (True, 0, b"\1\2\3", False),
        (False, 0, b"\1\2\3", True),
        (False, 1, b"\1\2\3", False),
        (False, 1, b"RGB", False),
        (False, None, b"RGB", True),
        (False, None, b"\1\2\3", False),
        (False, None, b"abc", False),
    ],
    ids=["JFIF", "JFIF before names", "JFIF before Adobe", "Adobe says RGB", "Adobe says YCbCr", "Adobe before names",
         "named RGB", "named 1 2 3", "other names"],
)  # fmt: skip
def test_jpegs_stored_as_rgb_are_recognised_as_libjpeg_does(jfif, adobe, names, stored_as_rgb):
    data = with_markers(jfif=jfif, adobe=adobe, names=names)
    assert coding(data).stored_as_rgb is stored_as_rgb
    # libjpeg itself: taken as RGB, the samples come out as they are stored.
    as_ycbcr = np.asarray(Image.open(io.BytesIO(with_markers(jfif=True, adobe=None, names=b"\1\2\3"))))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), as_ycbcr) is not stored_as_rgb


def test_a_jpeg_that_pillow_stores_as_rgb_is_recognised():
    assert coding(jpeg(keep_rgb=True)).stored_as_rgb
    assert not coding(jpeg()).stored_as_rgb


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        (jpeg(), True),
        (jpeg(progressive=True), True),
        (jpeg()[:-2], False),
        (jpeg()[:-1], False),
        (jpeg() + b"\0" * 100_000, True),
        (jpeg()[:-2] + b"\0" * 100_000, False),
        (jpeg() + jpeg(30, 20), True),
        (jpeg(exif=exif_block(6) + jpeg(16, 16))[:-2], False),
    ],
    ids=["whole", "progressive", "no end marker", "half an end marker", "trailing zeros", "zeros for an end",
         "a second image behind", "only the preview is whole"],
)  # fmt: skip
def test_a_jpeg_is_complete_if_an_end_marker_follows_its_scan(data, complete):
    assert coding(data).complete is complete


def test_a_jpeg_truncated_in_its_scan_is_not_complete():
    data = jpeg(200, 150)
    scan = data.index(b"\xff\xda")
    assert not any(coding(data[:length]).complete for length in range(scan + 2, len(data) - 1, 97))


@pytest.mark.parametrize(
    ("data", "subsampled"),
    [
        (jpeg(subsampling=2), True),
        (jpeg(subsampling=1), True),
        (jpeg(subsampling=0), False),
        (encoded(RGB[..., 0]), False),
    ],
    ids=["4:2:0", "4:2:2", "4:4:4", "grey"],
)
def test_subsampled_says_whether_colour_is_coarser_than_brightness(data, subsampled):
    assert coding(data).subsampled is subsampled


TRAITS = DecoderTraits("testdecoder", "1.0", exact=True)


def sampled(factor: int) -> bytes:
    return cv2.imencode(".jpg", RGB, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()


def made(process: JpegProcess = JpegProcess.BASELINE, bits: int = 8, **options: object) -> ImageHeader:
    """For kinds of JPEG that no encoder at hand writes."""
    return ImageHeader("JPEG", (48, 64), 1, JpegCoding(process, bits, ((1, 1),) * 3, **options))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (probe(jpeg(), "x"), None),
        (probe(encoded(RGB[..., 0]), "x"), None),
        (probe(sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422), "x"), None),
        (probe(sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440), "x"), None),
        (probe(sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444), "x"), None),
        (probe(sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411), "x"), "unusual chroma sampling"),
        (probe(jpeg(progressive=True), "x"), "progressive JPEG: testdecoder supports baseline"),
        (probe(encoded(Image.fromarray(RGB).convert("CMYK")), "x"), "4 components"),
        (probe(jpeg(keep_rgb=True, subsampling=0), "x"), "stored as RGB"),
        (probe(jpeg()[:-2], "x"), "without an end marker"),
        (probe(encoded(RGB, "PNG"), "x"), "PNG: GPU decoders support JPEG only"),
        (made(bits=12), "12-bit"),
        (made(JpegProcess.ARITHMETIC), "arithmetic"),
        (made(JpegProcess.LOSSLESS), "lossless"),
        (made(JpegProcess.EXTENDED), "extended sequential"),
    ],
    ids=["4:2:0", "grey", "4:2:2", "4:4:0", "4:4:4", "4:1:1", "progressive", "CMYK", "RGB", "cut", "PNG", "12-bit",
         "arithmetic", "lossless", "extended"],
)  # fmt: skip
def test_a_decoder_rejects_unsupported_files_with_a_reason(header, reason):
    unsupported_reason = TRAITS.unsupported_reason(header)
    assert unsupported_reason is None if reason is None else reason in unsupported_reason


def test_a_decoder_that_supports_progressive_jpegs_gets_them():
    traits = DecoderTraits("x", "1", exact=False, processes=frozenset({JpegProcess.BASELINE, JpegProcess.PROGRESSIVE}))
    assert traits.unsupported_reason(probe(jpeg(progressive=True), "x")) is None
