"""Samples of any range, in files and PIL images, are scaled by it and rounded, or refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.decode.cpu.decode import decode
from depth_anything_3.inputs.decode.cpu.samples import to_8_bits
from depth_anything_3.inputs.header import probe
from support.images import encoded, largest_difference

LEVELS = photo(61, 43, 2)
RGB = Image.fromarray(LEVELS)
WIDE = LEVELS.astype(np.uint16) * 257


def decoded(data: bytes) -> np.ndarray:
    return decode(data, probe(data, "a"), "a").pixels


@pytest.mark.parametrize("maximum", [1, 3, 100, 255, 256, 1000, 4095, 65_535, 2**24 - 1, 2**32 - 1])
def test_the_nearest_level_is_taken(maximum):
    values = np.unique(np.linspace(0, maximum, 70_000).round().astype(np.uint64))
    dtype = np.uint8 if maximum < 256 else np.uint16 if maximum < 65_536 else np.uint32
    found = to_8_bits(values.astype(dtype)[:, None], maximum)[:, 0]
    assert np.abs(found - values * (255 / maximum)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("maximum", [1, 15, 100, 255, 256, 1000, 4095, 65_535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_a_ppm_is_scaled_by_its_maximum(kind, maximum):
    samples = np.rint(LEVELS * (maximum / 255)).astype(np.int64)
    samples = samples[..., :1] if kind in ("P2", "P5") else samples
    header = f"{kind}\n# a comment\n61 43 # another\n{maximum}\n".encode()
    if kind in ("P2", "P3"):
        body = " ".join(map(str, samples.ravel())).encode()
    else:
        body = samples.astype(">u2" if maximum > 255 else "u1").tobytes()
    wanted = np.broadcast_to(samples * (255 / maximum), (43, 61, 3))
    assert np.abs(decoded(header + body) - wanted).max() <= 0.5 + 1e-9


def test_a_large_ppm_of_16_bits_is_not_read_sample_by_sample():
    samples = np.random.default_rng(1).integers(0, 65_536, (600, 800, 3))
    pixels = decoded(b"P6 800 600 65535\n" + samples.astype(">u2").tobytes())
    np.testing.assert_array_equal(pixels, np.rint(samples / 257))


@pytest.mark.parametrize("damage", ["truncated", "maximum"])
def test_a_damaged_ppm_is_refused(damage):
    data = b"P6 61 43 0\n" if damage == "maximum" else b"P6 61 43 255\n" + bytes(1000)
    with pytest.raises(ImageDecodeError, match="a: truncated"):
        decoded(data)


@pytest.mark.parametrize("kind", ["SGI", "JPEG2000"])
def test_other_formats_of_16_bits_are_within_a_level(kind):
    if kind == "SGI":
        header = b"\x01\xda\0\2\0\3\0\x3d\0\x2b\0\3" + bytes(4) + b"\0\0\xff\xff"
        data = header.ljust(512, b"\0") + WIDE[::-1].transpose(2, 0, 1).astype(">u2").tobytes()
        assert largest_difference(decoded(data), LEVELS) <= 1
    else:
        data = encoded(Image.fromarray(WIDE[..., 0]), kind)
        assert largest_difference(decoded(data), LEVELS[..., :1].repeat(3, axis=2)) <= 1


def test_signed_jpeg_2000_is_refused():
    data = bytearray(encoded(Image.fromarray(WIDE[..., 0]), "JPEG2000"))
    at = data.index(b"\xff\x4f\xff\x51") + 42
    assert data[at] == 15  # bits - 1
    data[at] |= 0x80
    with pytest.raises(ImageDecodeError, match="a: signed 16-bit samples have no fixed range"):
        decoded(bytes(data))


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(RGB, *profiles, outputMode="LAB")
    assert converted is not None
    return converted


def with_transparency() -> Image.Image:
    image = RGB.quantize(255)
    image.info["transparency"] = 3
    return image


FEW = np.asarray(RGB.quantize(255).convert("RGB"))
GREY = np.asarray(RGB.convert("L").convert("RGB"))
RED = LEVELS[..., :1].repeat(3, axis=2)
HALF = Image.fromarray(np.dstack([LEVELS, np.full((43, 61), 128, np.uint8)]))


@pytest.mark.parametrize(
    ("image", "wanted", "levels"),
    [
        (RGB.convert("L"), GREY, 0),
        (RGB.convert("LA"), GREY, 0),
        (RGB.convert("LA").convert("La"), GREY, 0),
        (with_transparency(), FEW, 0),
        (RGB.quantize(255).convert("PA"), FEW, 0),
        (Image.fromarray(LEVELS[..., 0] > 99), (LEVELS[..., :1] > 99) * np.full(3, 255, np.uint8), 0),
        (HALF, LEVELS, 0),
        (HALF.convert("RGBa"), LEVELS, 1),
        (RGB.convert("RGBX"), LEVELS, 0),
        (RGB.convert("CMYK"), LEVELS, 0),
        (RGB.convert("YCbCr"), LEVELS, 4),
        (RGB.convert("HSV"), LEVELS, 6),
        (lab(), LEVELS, 6),
        (Image.fromarray(WIDE[..., 0]), RED, 0),
        (Image.fromarray(WIDE[..., 0]).convert("I").convert("I;16B"), RED, 0),
        (Image.open(io.BytesIO(b"P5 61 43 65535\n" + WIDE[..., 0].astype(">u2").tobytes())), RED, 0),
        (Image.open(io.BytesIO(b"P5 61 43 255\n" + LEVELS[..., 0].tobytes())), RED, 0),
    ],
    ids=lambda one: f"{one.mode} {one.format or ''}".strip() if isinstance(one, Image.Image) else None,
)
def test_a_pil_image_of_any_mode_is_converted(image, wanted, levels):
    found = ImagePreparer().open(0, image).data
    assert largest_difference(found, np.asarray(wanted)) <= levels


@pytest.mark.parametrize(("mode", "message"), [("I", "signed 32-bit samples"), ("F", "floating-point samples")])
def test_a_pil_image_without_a_fixed_range_is_refused(mode, message):
    with pytest.raises(ImageDecodeError, match=rf"image 0 \(PIL {mode} 61x43\): {message} have no fixed range; scale"):
        ImagePreparer().open(0, RGB.convert("L").convert(mode))
