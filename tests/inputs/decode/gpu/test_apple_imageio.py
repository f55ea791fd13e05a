"""The ImageIO decoder with a stand-in for macOS's Quartz that decodes with Pillow."""

from __future__ import annotations

import contextlib
import io
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu import apple_imageio as imageio
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.header import probe
from support.images import encoded, exif_block, jpeg

GREY, RGB, LAB, DEVICE_RGB = "grey profile", "image's own RGB", "Lab", "device RGB"


class FakeQuartz(types.ModuleType):
    """The calls of Quartz that the decoder makes."""

    kCGImageSourceCreateThumbnailFromImageAlways = "always"
    kCGImageSourceCreateThumbnailWithTransform = "transform"
    kCGImageSourceThumbnailMaxPixelSize = "max"
    kCGColorSpaceModelMonochrome, kCGColorSpaceModelRGB = 0, 1
    kCGImageAlphaNone, kCGImageAlphaNoneSkipLast, kCGBitmapByteOrder32Big = 0, 5, 4 << 12

    def __init__(self) -> None:
        super().__init__("Quartz")
        self.thumbnails: list[int] = []
        self.space = RGB

    def CGImageSourceCreateWithData(self, data, options):
        assert isinstance(data, bytes)
        assert options is None
        return data if data.startswith(b"\xff\xd8") else None

    def CGImageSourceCreateImageAtIndex(self, source, index, options):
        assert (index, options) == (0, None)
        image = Image.open(io.BytesIO(source))
        try:
            image.load()
        except OSError:
            return None
        return image

    def CGImageSourceCreateThumbnailAtIndex(self, source, index, options):
        assert options.pop("always") is True
        assert options.pop("transform") is False
        length = options.pop("max")
        assert not options
        self.thumbnails.append(length)
        image = self.CGImageSourceCreateImageAtIndex(source, index, None)
        # The shorter side rounded down, the harshest that ImageIO could be.
        return image and image.resize([max(side * length // max(image.size), 1) for side in image.size])

    def CGImageGetWidth(self, image):
        return image.width

    def CGImageGetHeight(self, image):
        return image.height

    def CGImageGetColorSpace(self, image):
        return GREY if image.mode == "L" else self.space

    def CGColorSpaceGetModel(self, space):
        return {GREY: 0, RGB: 1, DEVICE_RGB: 1, LAB: 3}[space]

    def CGColorSpaceCreateDeviceRGB(self):
        return DEVICE_RGB

    def CGRectMake(self, *rectangle):
        return rectangle

    def CGBitmapContextCreate(self, memory, width, height, bits, row, space, layout):
        channels = 1 if layout == 0 else 4
        assert layout in (0, 5 | 4 << 12)
        assert (bits, row) == (8, width * channels)
        assert (space == GREY) is (channels == 1)
        assert memory.dtype == np.uint8
        assert memory.ndim == 1
        return memory.reshape(height, width, channels) if space != "for reading only" else None

    def CGContextDrawImage(self, context, rectangle, image):
        assert rectangle == (0, 0, image.width, image.height)
        samples = np.asarray(image)
        if context.shape[2] == 1:
            context[..., 0] = samples
        else:
            context[..., :3], context[..., 3] = samples, 77


@pytest.fixture
def quartz(monkeypatch):
    fake, objc = FakeQuartz(), types.ModuleType("objc")
    objc.autorelease_pool = contextlib.nullcontext
    objc.error = type("error", (Exception,), {})
    monkeypatch.setitem(sys.modules, "Quartz", fake)
    monkeypatch.setitem(sys.modules, "objc", objc)
    monkeypatch.setattr(imageio, "package_version", lambda *_, **__: "11.0")
    return fake


@pytest.fixture
def decoder(quartz):
    opened = open_decoder("imageio", torch.device("cpu"))
    yield opened
    opened.close()


def decoded(decoder, *files, min_hw=None):
    results = decoder.decode(files, [probe(data, "x") for data in files], [min_hw] * len(files))
    return [one if isinstance(one, str) else one.numpy() for one in results]


def as_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_pixels_are_three_channels_as_stored_and_in_order(decoder):
    files = [jpeg(60, 40, 0), encoded(photo(33, 21, 1)[..., 0]), jpeg(10, 70, 2, exif=exif_block(6))]
    for kind in (bytes, bytearray, memoryview):
        for pixels, data in zip(decoded(decoder, *map(kind, files)), files, strict=True):
            np.testing.assert_array_equal(pixels, as_pillow(data))


@pytest.mark.parametrize(
    ("stored_wh", "min_hw", "length"),
    [
        ((400, 300), (60, 80), 80),
        ((300, 400), (80, 60), 80),
        ((400, 300), (100, 10), 134),
        ((400, 300), (7, 100), 100),
        ((401, 299), (100, 100), 135),
        ((400, 300), (300, 400), None),
        ((400, 300), (299, 400), None),
        ((400, 300), (500, 10), None),
        ((400, 300), None, None),
    ],
    ids=["same shape", "upright", "height decides", "width decides", "odd", "all of it", "one side whole", "more",
         "not asked"],
)  # fmt: skip
def test_a_reduced_image_reaches_both_sides(quartz, decoder, stored_wh, min_hw, length):
    data = jpeg(*stored_wh)
    (pixels,) = decoded(decoder, data, min_hw=min_hw)
    assert quartz.thumbnails == ([] if length is None else [length])
    if length is None:
        np.testing.assert_array_equal(pixels, as_pillow(data))
    else:
        assert max(pixels.shape) == length
        assert all(have >= need for have, need in zip(pixels.shape[:2], min_hw, strict=True))


def test_colours_of_another_model_are_drawn_as_rgb(quartz, decoder):
    quartz.space = LAB
    np.testing.assert_array_equal(decoded(decoder, jpeg())[0], as_pillow(jpeg()))


def test_a_bad_file_fails_alone_with_its_reason(decoder):
    good = jpeg(60, 40)
    first, bad, last = decoded(decoder, good, good[: len(good) // 2], good)
    assert bad == "imageio cannot decode the file"
    np.testing.assert_array_equal(first, as_pillow(good))
    np.testing.assert_array_equal(last, as_pillow(good))


@pytest.mark.parametrize(
    ("call", "answer", "reason"),
    [
        ("CGImageSourceCreateWithData", None, "cannot read the file"),
        ("CGImageSourceCreateThumbnailAtIndex", None, "cannot decode the file"),
        ("CGBitmapContextCreate", None, "cannot draw the image"),
        ("CGImageGetWidth", 5, "returned 5x"),
        ("CGImageGetWidth", ValueError("depythonifying 'pointer'"), "imageio: depythonifying"),
    ],
    ids=["no source", "no thumbnail", "no bitmap", "too small", "PyObjC refuses"],
)
def test_every_failure_of_quartz_becomes_a_reason(quartz, decoder, monkeypatch, call, answer, reason):
    def answered(*_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(quartz, "CGContextDrawImage", lambda *_: None)
    monkeypatch.setattr(quartz, call, answered)
    (result,) = decoded(decoder, jpeg(60, 40), min_hw=(20, 30))
    assert reason in result


def test_a_decoder_that_does_not_run_is_rejected_when_opened(quartz, monkeypatch):
    monkeypatch.setattr(quartz, "CGBitmapContextCreate", lambda *_: None)
    with pytest.raises(UnsupportedError, match=r"imageio does not run on cpu .*cannot draw the image"):
        open_decoder("imageio", torch.device("cpu"))


def test_without_quartz_opening_raises(monkeypatch):
    monkeypatch.setattr(imageio, "package_version", lambda *_, **__: "11.0")
    monkeypatch.setitem(sys.modules, "objc", None)
    with pytest.raises(UnsupportedError, match="Quartz cannot be loaded"):
        open_decoder("imageio", torch.device("cpu"))
