"""TIFFs of every depth and storage; the expected pixels are those that the file was made of."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.decode.cpu.decode import Decoded, decode
from depth_anything_3.inputs.header import probe
from support.images import encoded, largest_difference
from support.tiff_builder import BLACK_IS_ZERO, CFA, PALETTE, RGB, SEPARATED, WHITE_IS_ZERO, page, tiff

HEIGHT, WIDTH = 43, 61
LEVELS = photo(WIDTH, HEIGHT, 2)
THUMB = np.full((10, 14, 3), 200, np.uint8)
RAW_TAGS = {33_421: ("H", [2, 2]), 33_422: ("B", [0, 1, 1, 2])}
DNG = {50_706: ("B", [1, 4, 0, 0])}


def decoded(data: bytes, allow_truncated: bool = False) -> Decoded:
    return decode(data, probe(data, "a.tif"), "a.tif", allow_truncated=allow_truncated)


def spread(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a number of bits, and the levels that they stand for."""
    maximum = (1 << bits) - 1
    noise = np.random.default_rng(bits).random(LEVELS.shape)
    samples = np.minimum(np.rint((LEVELS + 0.9 * noise - 0.45) / 255 * maximum).clip(0), maximum).astype(np.int64)
    return samples, np.rint(samples * (255 / maximum)).astype(np.uint8)


def grey(levels: np.ndarray) -> np.ndarray:
    return levels[..., :1].repeat(3, axis=2)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 32])
def test_samples_are_scaled_by_their_range_and_rounded(bits, order):
    samples, levels = spread(bits)
    for planar in (False, True):
        data = tiff(page(samples, RGB, bits, order=order, planar=planar), order=order)
        assert largest_difference(decoded(data).pixels, levels) == 0
    for photometric, shown in ((BLACK_IS_ZERO, levels), (WHITE_IS_ZERO, 255 - levels)):
        data = tiff(page(samples[..., :1], photometric, bits, order=order), order=order)
        assert largest_difference(decoded(data).pixels, grey(shown)) == 0


@pytest.mark.parametrize("packing", ["raw", "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("tile", [0, 16], ids=["strips", "tiles"])
@pytest.mark.parametrize("planar", [False, True], ids=["mixed", "planes"])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_every_storage_gives_the_same_pixels(bits, planar, tile, packing):
    samples, levels = spread(bits)
    for order in "<>":
        for predictor in {False, packing in ("lzw", "deflate")}:
            one = page(samples, RGB, bits, order=order, packing=packing, planar=planar, tile=tile, predictor=predictor)
            np.testing.assert_array_equal(decoded(tiff(one, order=order)).pixels, levels)


@pytest.mark.parametrize("fill", ["reversed bits", "no byte counts", "no rows per strip"])
def test_older_ways_to_store_a_page_are_read(fill):
    samples, levels = spread(16)
    tags, (block,) = page(samples, RGB, 16, rows=HEIGHT)
    if fill == "reversed bits":
        tags[266] = ("H", [2])
        block = np.packbits(np.unpackbits(np.frombuffer(block, np.uint8)).reshape(-1, 8)[:, ::-1]).tobytes()
    elif fill == "no rows per strip":
        del tags[278]
    data = tiff((tags, [block]))
    if fill == "no byte counts":
        data = data.replace(struct.pack("<HH", 279, 4), struct.pack("<HH", 60_000, 4))
    np.testing.assert_array_equal(decoded(data).pixels, levels)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True], ids=["mixed", "planes"])
def test_alpha_is_dropped_and_premultiplied_colours_are_divided_by_it(bits, planar):
    samples, levels = spread(bits)
    alpha = np.full((HEIGHT, WIDTH, 1), round(0.6 * ((1 << bits) - 1)))
    for kind in (0, 2):  # unknown; not premultiplied
        tags = {338: ("H", [kind])}
        data = tiff(page(np.dstack([samples, alpha]), RGB, bits, planar=planar, tags=tags))
        np.testing.assert_array_equal(decoded(data).pixels, levels)
        data = tiff(page(np.dstack([samples[..., :1], alpha]), BLACK_IS_ZERO, bits, planar=planar, tags=tags))
        np.testing.assert_array_equal(decoded(data).pixels, grey(levels))
    multiplied = np.rint(samples * 0.6).astype(np.int64)
    data = tiff(page(np.dstack([multiplied, alpha]), RGB, bits, planar=planar, tags={338: ("H", [1])}))
    assert largest_difference(decoded(data).pixels, levels) <= 2  # 8 bits of 0.6 of the range


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_is_converted_like_8_bits_by_pillow(bits):
    samples, levels = spread(bits)
    black = samples[..., :1] // 3
    stored = np.dstack([levels, np.rint(black * (255 / ((1 << bits) - 1)))]).astype(np.uint8)
    wanted = np.asarray(Image.frombytes("CMYK", (WIDTH, HEIGHT), stored.tobytes()).convert("RGB"))
    for planar in (False, True):
        data = tiff(page(np.dstack([samples, black]), SEPARATED, bits, planar=planar))
        np.testing.assert_array_equal(decoded(data).pixels, wanted)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
@pytest.mark.parametrize("scale", [257, 256, 1])
def test_a_palette_of_any_size_is_looked_up(bits, scale):
    colours = np.random.default_rng(3).integers(0, 256, (1 << bits, 3))
    colours[0] = 255
    index = np.random.default_rng(4).integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    data = tiff(page(index, PALETTE, bits, tags={320: ("H", (colours.T * scale).ravel().tolist())}))
    np.testing.assert_array_equal(decoded(data).pixels, colours[index[..., 0]])


@pytest.mark.parametrize(
    ("tags", "bits", "message"),
    [
        ({339: ("H", [3])}, 32, "floating-point samples have no fixed range"),
        ({339: ("H", [3])}, 16, "floating-point samples have no fixed range"),
        ({339: ("H", [2])}, 16, "signed 16-bit samples have no fixed range"),
        ({339: ("H", [2])}, 8, "signed 8-bit samples have no fixed range"),
        ({259: ("H", [34_712])}, 8, "TIFF with JPEG 2000 compression is not supported; export it as"),
        ({259: ("H", [50_002])}, 16, "TIFF with JPEG XL compression is not supported"),
        ({259: ("H", [50_000])}, 16, "TIFF of 16 bits per sample with Zstandard is not supported"),
        ({259: ("H", [77])}, 8, "TIFF with kind 77 compression is not supported"),
        ({262: ("H", [8])}, 16, "TIFF of 16 bits per sample with CIELAB is not supported"),
        ({262: ("H", [32_845])}, 8, "colours of kind 32845"),
        ({258: ("H", [5, 6, 5])}, 8, "TIFF with 5, 6 bits per sample is not supported"),
        ({258: ("H", [64] * 3)}, 8, "TIFF with 64 bits per sample is not supported"),
        ({332: ("H", [2]), 262: ("H", [5]), 277: ("H", [4])}, 8, "inks other than CMYK"),
        ({277: ("H", [1])}, 8, "1 samples per pixel, but its colours have 3"),
        ({259: ("H", [5]), 317: ("H", [3])}, 16, "predictor 3 is not supported"),
        ({262: ("I", [2**32 - 1])}, 8, "colours of kind 4294967295"),
        ({322: ("I", [2**31]), 323: ("I", [2**31])}, 8, "damaged TIFF: tiles of"),
        ({277: ("B", []), 257: ("I", [HEIGHT])}, 8, "damaged TIFF: its directory holds values of wrong types"),
    ],
)
def test_a_tiff_without_a_right_value_is_refused_with_the_reason(tags, bits, message):
    data = tiff(page(LEVELS, RGB, bits, tags=tags))
    with pytest.raises((ImageDecodeError, ValueError), match=rf"^a\.tif: .*{message}"):
        decoded(data)


def test_a_truncated_or_damaged_strip_is_refused_or_left_black():
    whole = tiff(page(LEVELS, packing="deflate", rows=10))
    (at, *_) = struct.unpack_from("<5I", whole, whole.index(struct.pack("<HHI", 273, 4, 5)) and _offsets(whole, 273))
    broken = bytearray(whole)
    broken[at + 200] ^= 0xFF
    with pytest.raises(ImageDecodeError, match=r"a\.tif: damaged TIFF\. Copy it again.*allow_truncated"):
        decoded(bytes(broken))
    result = decoded(bytes(broken), allow_truncated=True)
    assert result.warnings == ("damaged TIFF; decoded as far as possible",)
    assert not result.pixels[:10].any()
    np.testing.assert_array_equal(result.pixels[10:], LEVELS[10:])


def _offsets(data: bytes, tag: int) -> int:
    entry = data.index(struct.pack("<HHI", tag, 4, 5))
    return int.from_bytes(data[entry + 8 : entry + 12], "little")


# Pages


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("as_subpage", [0, 1], ids=["next page", "subpage"])
@pytest.mark.parametrize("mark", [{254: ("I", [1])}, {255: ("H", [2])}, {254: ("I", [4])}], ids=["new", "old", "mask"])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_full_size_page_is_taken_and_not_its_copy(bits, mark, as_subpage, order):
    samples, levels = spread(bits)
    copy, full = page(THUMB, order=order, tags=mark), page(samples, RGB, bits, order=order)
    np.testing.assert_array_equal(decoded(tiff(copy, full, order=order, subpages=as_subpage)).pixels, levels)
    np.testing.assert_array_equal(decoded(tiff(full, copy, order=order, subpages=as_subpage)).pixels, levels)


def test_the_largest_of_several_pages_is_taken_if_the_first_is_a_copy():
    copy, half = page(THUMB, tags={254: ("I", [1])}), page(LEVELS[::2, ::2])
    np.testing.assert_array_equal(decoded(tiff(copy, half, page(LEVELS), subpages=2)).pixels, LEVELS)


def test_a_copy_alone_is_all_there_is_and_of_equal_pages_the_first_is_taken():
    np.testing.assert_array_equal(decoded(tiff(page(THUMB, tags={254: ("I", [1])}))).pixels, THUMB)
    np.testing.assert_array_equal(decoded(tiff(page(THUMB), page(LEVELS))).pixels, THUMB)


def test_a_page_that_only_pillow_decodes_is_taken_too():
    black = LEVELS[..., 0] < 99
    fax = encoded(Image.fromarray(~black), "TIFF", compression="group4")
    with Image.open(io.BytesIO(fax)) as image:
        known = image.tag_v2
        tags = {tag: ("H", [int(known[tag])]) for tag in (256, 257, 259, 262, 278)} | {258: ("H", [1]), 277: ("H", [1])}
        strip = fax[known[273][0] : known[273][0] + known[279][0]]
    data = tiff(page(THUMB, tags={254: ("I", [1])}), (tags, [strip]))
    np.testing.assert_array_equal(decoded(data).pixels[..., 1] == 0, black)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (
            tiff(page(THUMB, tags={254: ("I", [1]), **DNG}), page(LEVELS[..., :1], CFA, tags=RAW_TAGS), subpages=1),
            "DNG",
        ),
        (tiff(page(LEVELS, 34_892, tags=DNG)), "DNG"),
        (tiff(page(THUMB, tags={254: ("I", [1])}), page(LEVELS[..., :1], CFA, tags=RAW_TAGS), subpages=1), "NEF, ARW"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(200), "Canon CR2"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(200), "Fujifilm RAF"),
        (b"IIRO\x08\0\0\0" + bytes(200), "Olympus ORF"),
        (b"IIU\0\x18\0\0\0" + bytes(200), "Panasonic RW2"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01" + bytes(200), "Canon CR3"),
        (b"FOVb" + bytes(200), "Sigma X3F"),
    ],
    ids=["DNG", "linear DNG", "NEF", "CR2", "RAF", "ORF", "RW2", "CR3", "X3F"],
)
def test_camera_raw_is_refused_by_name_and_its_preview_is_not_taken(data, name):
    with pytest.raises(ImageDecodeError, match=rf"^a\.raw: camera raw \({name}.*export it as TIFF or JPEG"):
        probe(data, "a.raw")


def test_a_copy_whose_image_is_missing_is_refused():
    data = tiff(page(THUMB, tags={254: ("I", [1]), 330: ("I", [9_999_999])}))
    with pytest.raises(ImageDecodeError, match="a reduced copy, but not the image itself"):
        probe(data, "a.tif")


def test_pages_that_lead_to_each_other_are_read_once():
    data = bytearray(tiff(page(THUMB, tags={254: ("I", [1])}), page(LEVELS)))
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    at = first + 2 + 12 * count
    second = int.from_bytes(data[at : at + 4], "little")
    last = second + 2 + 12 * int.from_bytes(data[second : second + 2], "little")
    data[last : last + 4] = data[4:8]
    np.testing.assert_array_equal(decoded(bytes(data)).pixels, LEVELS)


# PIL images


# Pillow does not open 12 bits whose white is 0.
@pytest.mark.parametrize(("bits", "photometric"), [(12, BLACK_IS_ZERO), (16, BLACK_IS_ZERO), (16, WHITE_IS_ZERO)])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_pil_image_of_a_tiff_has_the_pixels_of_the_file(bits, photometric, loaded):
    samples, levels = spread(bits)
    data = tiff(page(samples[..., :1], photometric, bits, rows=HEIGHT))
    image = Image.open(io.BytesIO(data))
    if loaded:
        image.load()
    found = ImagePreparer().open(0, image).data
    np.testing.assert_array_equal(found, grey(levels if photometric else 255 - levels))


def test_a_pil_image_of_16_bit_planes_is_right_or_refused():
    samples, levels = spread(16)
    data = tiff(page(samples, RGB, 16, planar=True, rows=HEIGHT))
    np.testing.assert_array_equal(ImagePreparer().open(0, Image.open(io.BytesIO(data))).data, levels)
    image = Image.open(io.BytesIO(data))
    image.load()
    with pytest.raises(ImageDecodeError, match=r"Pillow mixes up the planes.*pass the path"):
        ImagePreparer().open(0, image)


def test_a_jpeg_in_a_tiff_has_the_pixels_of_pillow():
    for quality in (60, 95):
        data = encoded(photo(200, 130, 1), "TIFF", compression="jpeg", quality=quality)
        np.testing.assert_array_equal(decoded(data).pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(("order", "start"), [("<", b"II\0*"), (">", b"MM*\0")])
def test_a_version_in_the_wrong_byte_order_is_read_as_pillow_does(order, start):
    samples, levels = spread(16)
    data = start + tiff(page(samples, RGB, 16, order=order), order=order)[4:]
    np.testing.assert_array_equal(decoded(data).pixels, levels)
