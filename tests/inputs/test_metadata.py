"""Orientation and lens are found wherever software writes them, and alike for a path, bytes and a PIL image."""

from __future__ import annotations

import io
import pickle
import random
import struct
from contextlib import suppress

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageOps

from depth_anything_3.errors import DA3Error, ImageDecodeError
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.choices import ProcessResMethod
from depth_anything_3.inputs.exif import read_lens, read_orientation
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.pil_image import decoded_here
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.prediction.focal_length import exif_focal_length
from support.images import write
from support.metadata_files import TURNS, MetadataFile, block_of, metadata_files, short, xmp_of

FILES = metadata_files()
APPLY, IGNORE = (ImagePreparer(PreprocessOptions(process_res=56, exif=exif)) for exif in ("apply", "ignore"))


def planned(stored_hw, orientation):
    return plan_resize(stored_hw, 56, ProcessResMethod.UPPER_BOUND_RESIZE, exif_orientation=orientation)


def read(preparer, image):
    """The orientation of an image, its pixels as the preparer stores them, and its lens."""
    opened = preparer.open(0, image)
    pixels = np.asarray(preparer.decode(opened).data)
    return opened.plan.orientation, pixels, read_lens(opened.exif).get(0xA405)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged blocks
@pytest.mark.parametrize("file", FILES, ids=str)
def test_orientation_and_lens_are_those_of_the_file_in_every_form(file: MetadataFile, tmp_path):
    path = write(tmp_path / f"image{file.suffix}", file.data)
    opened = Image.open(io.BytesIO(file.data))
    forms = {"path": path, "bytes": file.data, "PIL": opened, "PIL, again": opened}
    if file.as_pil:
        loaded = Image.open(io.BytesIO(file.data))
        loaded.load()
        forms |= {"PIL, loaded": loaded}
    if "20 MB" in file.name:
        forms = {"path": path, "bytes": file.data}  # Pillow refuses it
    upright = np.ascontiguousarray(TURNS[file.orientation](file.stored))
    for form, image in forms.items():
        orientation, pixels, lens = read(APPLY, image)
        assert np.abs(pixels.astype(int) - file.stored).max() <= file.levels, form
        assert orientation == planned(file.stored.shape[:2], file.orientation).orientation, form
        assert lens == (28 if file.lens else None), form
        assert APPLY(0, image).plan.source_hw == upright.shape[:2], form
        orientation, pixels, _ = read(IGNORE, image)
        assert orientation == planned(file.stored.shape[:2], 1).orientation, form
        assert np.abs(pixels.astype(int) - file.stored).max() <= file.levels, form


NAMED = {file.name: file for file in FILES}
SOME = [
    "JPEG, Exif",
    "JPEG, XMP, element",
    "PNG, eXIf behind IDAT",
    "PNG, zTXt before IDAT",
    "WebP, exif",
    "TIFF, {274: 6}, RGB",
]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("in_place", [False, True])
def test_an_image_that_was_made_upright_is_not_turned_again(name, in_place):
    file = NAMED[name]
    image = Image.open(io.BytesIO(file.data))
    image = ImageOps.exif_transpose(image, in_place=in_place) or image
    for preparer in (APPLY, IGNORE):
        plan, pixels, _ = read(preparer, image)
        assert plan == planned(pixels.shape[:2], 1).orientation
        assert np.abs(pixels.astype(int) - TURNS[6](file.stored)).max() <= file.levels


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("file", FILES, ids=str)
def test_what_pillow_makes_upright_in_place_is_not_turned_again(file):
    image = Image.open(io.BytesIO(file.data))
    if "20 MB" in file.name:
        return
    before = np.asarray(image.convert("RGB")).shape, ImageOps.exif_transpose(image, in_place=True)
    del before
    shape = image.size[::-1]
    if shape != file.stored.shape[:2]:  # Pillow has turned it
        assert APPLY(0, image).plan.source_hw == shape


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("value", [8, 1, None])
def test_an_orientation_that_the_caller_set_counts(name, value):
    file = NAMED[name]
    image = Image.open(io.BytesIO(file.data))
    if value is None:
        del image.getexif()[0x0112]
    else:
        image.getexif()[0x0112] = value
    expected = planned(file.stored.shape[:2], value or 1).orientation
    assert read(APPLY, image)[0] == expected


@pytest.mark.parametrize("name", ["TIFF, {274: 6}, RGB", "TIFF, {274: 5}, RGB", "TIFF, {274: 8}, tiff_lzw, RGB"])
def test_a_loaded_tiff_is_upright_because_pillow_has_turned_it(name):
    file = NAMED[name]
    image = Image.open(io.BytesIO(file.data))
    image.load()
    for preparer in (APPLY, IGNORE):
        plan, pixels, lens = read(preparer, image)
        assert plan == planned(pixels.shape[:2], 1).orientation
        np.testing.assert_array_equal(pixels, TURNS[file.orientation](file.stored))
        assert lens == (28 if file.lens else None)


def test_an_image_that_was_not_loaded_is_left_as_it_was():
    file = NAMED["TIFF, {274: 6}, RGB"]
    image = Image.open(io.BytesIO(file.data))
    read(APPLY, image)
    read(IGNORE, image)
    np.testing.assert_array_equal(np.asarray(image), TURNS[6](file.stored))


def test_the_page_of_a_tiff_that_the_caller_chose_is_read():
    pages = [Image.fromarray(NAMED["TIFF, {274: 6}, RGB"].stored[:height]) for height in (40, 30)]
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 8
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], exif=exif)
    image = Image.open(file)
    image.seek(1)
    _, pixels, _ = read(APPLY, image)
    np.testing.assert_array_equal(pixels, np.asarray(pages[1]))
    assert image.tell() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_heic_is_turned_by_its_container_alone(orientation, order):
    rgb = NAMED["TIFF, {274: 6}, RGB"].stored
    file = io.BytesIO()
    exif = block_of(short(0x112, orientation, order), order=order)
    pillow_heif.from_pillow(Image.fromarray(rgb)).save(
        file, quality=-1, chroma=444, matrix_coefficients=0, exif=exif, xmp=xmp_of("", "tiff:Orientation='6'")
    )
    opened = Image.open(file) if "HEIF" in Image.OPEN else pillow_heif.HeifImageFile(file)
    for image in (file.getvalue(), opened):
        plan, pixels, lens = read(APPLY, image)
        assert plan == planned(pixels.shape[:2], 1).orientation
        assert np.abs(pixels.astype(int) - TURNS[orientation](rgb)).max() <= 4
        assert lens == 28


def test_a_tiff_is_read_in_either_byte_order_and_as_bigtiff():
    rgb = NAMED["TIFF, {274: 6}, RGB"].stored
    for order, big in (("<", False), (">", False), ("<", True)):  # Pillow reads no big-endian BigTIFF
        file = io.BytesIO()
        tags = [(274, 1, 1, 6, True), (0x920A, 5, 1, (42, 10), True)]  # a BYTE; TIFF/EP's focal length
        tifffile.imwrite(file, rgb, photometric="rgb", byteorder=order, bigtiff=big, extratags=tags, metadata=None)
        for image in (file.getvalue(), Image.open(io.BytesIO(file.getvalue()))):
            opened = APPLY.open(0, image)
            assert opened.plan.orientation == planned(rgb.shape[:2], 6).orientation
            assert read_lens(opened.exif) == {0x920A: 4.2}


@pytest.mark.parametrize("name", [*SOME, "JPEG 2000, Exif"])
@pytest.mark.parametrize("preparer", [APPLY, IGNORE], ids=["apply", "ignore"])
def test_a_worker_process_gets_the_same_of_a_pil_image(name, preparer):
    def sent(image):
        return pickle.loads(pickle.dumps(decoded_here(image, 0, allow_truncated=False)))

    file = NAMED[name]
    there, here = (read(preparer, image) for image in (sent(Image.open(io.BytesIO(file.data))), file.data))
    assert (there[0], there[2]) == (here[0], here[2])
    np.testing.assert_array_equal(there[1], here[1])
    changed = Image.open(io.BytesIO(file.data))
    changed.getexif()[0x0112] = 3
    assert read(APPLY, sent(changed))[0] == planned(file.stored.shape[:2], 3).orientation
    if not name.startswith("WebP"):  # Pillow opens no truncated ones
        with pytest.raises(ImageDecodeError, match=r"image 0 \(PIL RGB"):
            read(APPLY, sent(Image.open(io.BytesIO(file.data[: len(file.data) * 3 // 4]))))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_metadata_raises_only_package_errors_and_reads_alike():
    rng = random.Random(5)
    files = [file for file in FILES if "20 MB" not in file.name]
    for _ in range(600):
        file = rng.choice(files)
        data = bytearray(file.data)
        signs = [
            data.find(sign) for sign in (b"Exif", b"II*\0", b"MM\0*", b"tiff:Or", b"Raw profile", b"uuid", b"eXIf")
        ]
        for _ in range(rng.randint(1, 3)):
            place = rng.choice([sign for sign in signs if sign >= 0] or [0]) + rng.randrange(60)
            data[min(place, len(data) - 1)] = rng.choice((0, 1, 2, 3, 6, 8, 9, 255))
        try:
            opened = APPLY.open(0, bytes(data))
        except DA3Error:
            continue
        exif_focal_length(opened.exif, opened.plan.source_hw)
        with suppress(OSError, RuntimeError, ValueError):  # of Pillow's `open`, or of damaged pixels
            as_pil = APPLY.open(0, Image.open(io.BytesIO(data)))
            assert (as_pil.plan.orientation, read_lens(as_pil.exif)) == (
                opened.plan.orientation,
                read_lens(opened.exif),
            )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e30])
def test_a_directory_at_no_number_is_none(value):
    entry = (0x8769, 11, 1, struct.pack("<f", value))
    assert read_lens(block_of(entry, short(0x112, 6), lens=None)) == {}
    assert read_orientation(block_of((0x112, 11, 1, struct.pack("<f", value)))) == 1
