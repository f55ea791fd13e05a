from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DA3Error, ImageDecodeError, ImageSizeError
from depth_anything_3.inputs.exif import read_orientation
from depth_anything_3.inputs.header import JpegProcess, probe
from support.images import encoded, exif_block, jpeg


@pytest.mark.parametrize(
    ("options", "process", "sampling"),
    [
        ({"subsampling": 2}, JpegProcess.BASELINE, ((2, 2), (1, 1), (1, 1))),
        ({"subsampling": 1}, JpegProcess.BASELINE, ((2, 1), (1, 1), (1, 1))),
        ({"subsampling": 0}, JpegProcess.BASELINE, ((1, 1), (1, 1), (1, 1))),
        ({"progressive": True, "subsampling": 0}, JpegProcess.PROGRESSIVE, ((1, 1), (1, 1), (1, 1))),
    ],
    ids=["4:2:0", "4:2:2", "4:4:4", "progressive"],
)
def test_jpeg_coding_is_read_from_the_header(options, process, sampling):
    header = probe(jpeg(123, 45, **options), "x.jpg")
    assert header.format == "JPEG"
    assert header.stored_hw == (45, 123)
    assert header.jpeg
    assert (header.jpeg.process, header.jpeg.sampling, header.jpeg.bits) == (process, sampling, 8)


def test_grey_and_cmyk_jpegs_are_recognised_by_their_components():
    grey = probe(encoded(photo(20, 20, 0)[..., 0]), "grey.jpg")
    cmyk = probe(encoded(Image.fromarray(photo(20, 20, 0)).convert("CMYK")), "cmyk.jpg")
    assert grey.jpeg
    assert cmyk.jpeg
    assert (grey.jpeg.components, cmyk.jpeg.components) == (1, 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_from_every_format_that_has_it(kind, orientation):
    data = encoded(photo(30, 20, 0), kind, exif=exif_block(orientation))
    header = probe(data, "x")
    assert header.exif_orientation == orientation
    assert header.stored_hw == (20, 30)


@pytest.mark.parametrize(
    ("block", "orientation"),
    [
        (exif_block(6, order=">"), 6),
        (exif_block(6, kind=4), 6),
        (exif_block(6, order=">", kind=4), 6),
        (exif_block(0), 1),
        (exif_block(9), 1),
        (exif_block(6, count=1000), 1),
        (exif_block(6)[:-8], 1),
        (exif_block(6)[:10], 1),
        (b"Exif\0\0II*\0\xff\xff\xff\xff", 1),
        (b"Exif\0\0XX*\0\x08\0\0\0", 1),
        (b"", 1),
    ],
    ids=["big-endian", "LONG", "big-endian LONG", "0", "9", "absurd count", "cut entry", "cut", "wild offset",
         "no byte order", "none"],
)  # fmt: skip
def test_odd_orientation_tags_mean_upright_unless_they_make_sense(block, orientation):
    assert (read_orientation(block) or 1) == orientation


def test_the_first_of_two_exif_blocks_is_used():
    data = jpeg(exif=exif_block(6))
    block = exif_block(3)
    second = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    end_of_first = data.index(b"Exif") + len(exif_block(6))
    assert probe(data[:end_of_first] + second + data[end_of_first:], "x").exif_orientation == 6


def test_stray_and_fill_bytes_between_segments_are_skipped():
    data = jpeg(33, 22)
    assert probe(data[:2] + b"\xff\xff\xff" + data[3:], "x").stored_hw == (22, 33)
    end = 4 + int.from_bytes(data[4:6], "big")
    assert probe(data[:end] + b"\0\0\0" + data[end:], "x").stored_hw == (22, 33)


@pytest.mark.parametrize("data", [b"hello, this is text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"\0" * 64])
def test_files_that_are_not_images_are_rejected_by_name(data):
    with pytest.raises(ImageDecodeError, match=r"note\.jpg"):
        probe(data, "note.jpg")


def test_a_header_with_too_many_pixels_is_rejected_before_decoding():
    data = bytearray(jpeg(64, 64))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (65500).to_bytes(2, "big") * 2
    with pytest.raises(ImageSizeError, match=r"bomb\.jpg: the header states 65500x65500"):
        probe(bytes(data), "bomb.jpg")
    big = Image.new("1", (20000, 20000))
    with pytest.raises(ImageSizeError, match=r"bomb\.png: the header states"):
        probe(encoded(big, "PNG"), "bomb.png")


WHOLE_FILES = [
    jpeg(16, 16, exif=exif_block(6)),
    encoded(photo(9, 9, 0), "PNG"),
    encoded(photo(9, 9, 0), "WEBP"),
    encoded(photo(9, 9, 0), "TIFF"),
]


@given(st.data())
def test_damaged_headers_raise_only_package_errors(data):
    original = data.draw(st.sampled_from(WHOLE_FILES))
    damaged = bytearray(original[: data.draw(st.integers(0, len(original)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        header = probe(bytes(damaged), "x")
    except DA3Error as error:
        assert "x" in str(error)
    else:
        assert min(header.stored_hw) >= 1
        assert 1 <= header.exif_orientation <= 8
