"""Damaged files that are decoded nevertheless: Pillow's pixels, a warning with the file's name, and no stray line."""

from __future__ import annotations

import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.decode.cpu.decode import decode
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.fake_gpu import Opener, gpu_with
from support.images import encoded, jpeg, write
from support.jpeg_builder import hand_made
from support.png_builder import GREY, RGB, chunk, hand_made_png
from support.tiff_builder import page, tiff

PIXELS = photo(61, 43, 1)
WHOLE = jpeg(200, 150)
CMYK = hand_made(61, 43, ((1, 1),) * 4, adobe=0).data
ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)


def with_pixels(packed: bytes) -> bytes:
    head = hand_made_png(PIXELS, RGB, 8)
    return head[:33] + chunk(b"IDAT", packed) + head[-12:]


def spoilt(data: bytes) -> bytes:
    """With a wrong checksum."""
    return data[:-4] + bytes(one ^ 0x55 for one in data[-4:])


def without_a_piece(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + data[middle + 60 :]


def overwritten(data: bytes, piece: bytes) -> bytes:
    return data[:400] + piece + data[400 + len(piece) :]


DAMAGED = {
    "JPEG with an early end": (WHOLE[: len(WHOLE) // 2] + b"\xff\xd9", "damaged JPEG, part of which may be wrong"),
    "JPEG without a piece": (without_a_piece(WHOLE), "damaged JPEG, part of which may be wrong"),
    "CMYK JPEG with an early end": (CMYK[: len(CMYK) // 2] + b"\xff\xd9", "damaged JPEG, part of which may be wrong"),
    "PNG with a wrong checksum of a text": (
        hand_made_png(PIXELS, RGB, 8, before=spoilt(chunk(b"tEXt", b"Comment\0x"))),
        r"damaged PNG: a checksum outside its pixels is wrong \(chunk tEXt\)",
    ),
    "PNG with too many rows": (with_pixels(zlib.compress(ROWS + bytes(900))), "more data than its pixels need"),
    "PNG with bytes behind its rows": (with_pixels(zlib.compress(ROWS) + b"junk"), "more data than its pixels need"),
}
QUIET = {
    "PNG with a short gAMA": hand_made_png(PIXELS, RGB, 8, before=chunk(b"gAMA", b"\0\0")),
    "PNG with a profile that libpng knows as wrong": hand_made_png(
        PIXELS, RGB, 8, before=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(300)))
    ),
    "PNG with a palette that is not needed": hand_made_png(PIXELS, RGB, 8, before=chunk(b"PLTE", bytes(5))),
    "PNG with a wrong tRNS": hand_made_png(PIXELS, RGB, 8, before=chunk(b"tRNS", b"\0\0")),
    "PNG with 10 MB of text": hand_made_png(
        PIXELS, RGB, 8, before=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10_000_000)))
    ),
}
REFUSED = {
    "PNG with missing rows": with_pixels(zlib.compress(ROWS[:2000])),
    "PNG with a wrong checksum of its rows": with_pixels(zlib.compress(ROWS)[:-4] + b"1234"),
    "PNG with truncated rows": with_pixels(zlib.compress(ROWS)[:-9]),
    "PNG with an unknown chunk of importance": hand_made_png(PIXELS, RGB, 8, before=chunk(b"NEWX", b"1")),
    "PNG with a damaged chunk of pixels": with_pixels(ROWS),
    "PNG with a filter that is none": with_pixels(zlib.compress(b"\x09" + ROWS[1:])),
    "truncated JPEG": WHOLE[: len(WHOLE) // 2],
    "damaged WebP": encoded(PIXELS, "WEBP", lossless=True)[:300],
    "damaged LZW in a TIFF": overwritten(encoded(PIXELS, "TIFF", compression="tiff_lzw"), b"\xff" * 50),
    "damaged deflate in a TIFF": overwritten(encoded(PIXELS, "TIFF", compression="tiff_adobe_deflate"), bytes(50)),
    "damaged JPEG in a TIFF": overwritten(encoded(PIXELS, "TIFF", compression="jpeg"), b"\xff\xc0" * 40),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_that_can_be_decoded_carries_a_warning_and_prints_nothing(name, capfd):
    data, message = DAMAGED[name]
    result = decode(data, probe(data, "a"), "a")
    (warning,) = result.warnings
    assert re.search(message, warning)
    if "too many" not in name and "checksum of a text" not in name:
        np.testing.assert_array_equal(result.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    else:
        np.testing.assert_array_equal(result.pixels, PIXELS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", QUIET)
def test_what_does_not_concern_the_pixels_of_a_png_is_neither_printed_nor_reported(name, capfd):
    result = decode(QUIET[name], probe(QUIET[name], "a"), "a")
    assert result.warnings == ()
    np.testing.assert_array_equal(result.pixels, PIXELS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_decoded_is_refused_and_prints_nothing(name, capfd):
    data = REFUSED[name]
    with pytest.raises(ImageDecodeError, match=r"^a: (damaged|truncated)"):
        decode(data, probe(data, "a"), "a")
    assert capfd.readouterr() == ("", "")


def test_an_intact_file_has_no_warnings():
    for data in (WHOLE, CMYK, *(encoded(PIXELS, kind) for kind in ("PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"))):
        assert decode(data, probe(data, "a"), "a").warnings == ()


def test_a_warning_names_the_file_and_is_logged_once(tmp_path, caplog):
    data, _ = DAMAGED["JPEG with an early end"]
    files = [write(tmp_path / "good.jpg", WHOLE), write(tmp_path / "bad.jpg", data)]
    with InputProcessor() as processor:
        batch = processor(files, process_res=56, num_workers=1)
    assert [len(one.warnings) for one in batch.images] == [0, 1]
    assert batch.images[1].warnings[0].startswith(f"{tmp_path / 'bad.jpg'}: damaged JPEG")
    assert [one.getMessage() for one in caplog.records] == list(batch.images[1].warnings)


def test_a_worker_process_returns_warnings_and_prints_nothing(caplog, capfd):
    """Pillow would print a warning about the second file: its Exif directory is beyond the end of the file."""
    data, _ = DAMAGED["JPEG with an early end"]
    lost = tiff(page(photo(200, 150, 2), tags={34_665: ("I", [9_000_000])}))
    with InputProcessor() as processor:
        batch = processor([data, lost], process_res=56, executor="process", num_workers=1)
    assert [len(one.warnings) for one in batch.images] == [1, 0]
    assert [one.getMessage() for one in caplog.records] == list(batch.images[0].warnings)
    assert capfd.readouterr() == ("", "")


def test_iterate_and_batches_log_each_warning_once(caplog):
    data, _ = DAMAGED["JPEG with an early end"]
    with InputProcessor() as processor:
        (one,) = processor.iterate([data], process_res=56)
        assert [each.getMessage() for each in caplog.records] == list(one.warnings)
        caplog.clear()
        (batch,) = processor.batches([data], PreprocessOptions(process_res=56))
        assert [each.getMessage() for each in caplog.records] == list(batch.images[0].warnings) != []


@pytest.mark.parametrize("strategy", ["hybrid", "full_gpu"])
def test_warnings_survive_every_strategy_that_decodes_on_the_cpu(strategy):
    data, _ = DAMAGED["JPEG with an early end"]
    gpu = GPUInputProcessor("cpu", capabilities=gpu_with("exact"), open_decoder=Opener())
    assert len(gpu([data], process_res=56, strategy=strategy).images[0].warnings) == 1


def test_a_file_rejected_by_a_gpu_decoder_keeps_its_warning():
    data, _ = DAMAGED["JPEG with an early end"]
    gpu = GPUInputProcessor("cpu", capabilities=gpu_with("picky"), open_decoder=Opener())
    assert len(gpu([data], process_res=56, strategy="gpu_decode").images[0].warnings) == 1


def test_a_reduced_decode_has_the_warning_too():
    data, _ = DAMAGED["JPEG with an early end"]
    preparer = ImagePreparer(PreprocessOptions(process_res=28, fidelity="fast"))
    decoded = preparer.decode(preparer.open(0, data))
    assert decoded.plan.reduced_by > 1
    assert len(decoded.warnings) == 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_an_index_beyond_the_palette_is_black(bits):
    index = np.full((9, 9, 1), (1 << bits) - 1)
    data = hand_made_png(index, 3, bits, before=chunk(b"PLTE", b"\x09\x09\x09"))
    assert not decode(data, probe(data, "a"), "a").pixels.any()


def test_16_bits_of_a_png_are_rounded_and_not_truncated():
    grey = np.arange(65_536).reshape(256, 256, 1)
    data = hand_made_png(grey, GREY, 16)
    wanted = np.rint(grey / 257).astype(np.uint8).repeat(3, axis=2)
    np.testing.assert_array_equal(decode(data, probe(data, "a"), "a").pixels, wanted)
