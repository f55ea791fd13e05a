"""Files that break image readers, each with what is to come of it: pixels known beforehand, or an error of ours.

Everything is made here, so nothing binary is committed but two JPEGs of 300 and 430 bytes, whose arithmetic coding no
encoder at hand writes. Pixels are held against what the file was made of. Damaged files of which that cannot be said
are held against plain Pillow, the reference's decoder: its pixels, or where it raises, an error of ours.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
import pillow_heif
import tifffile
from PIL import Image, ImageCms

from depth_anything_3.errors import ImageSizeError
from support import tiff_builder
from support.corpus.case import HEIGHT, LOSSY, WIDTH, Case, as_pillow, draw_image
from support.corpus.damaged import bombs, cut, flipped, non_images, surplus
from support.images import encoded, exif_block
from support.jpeg_builder import hand_made
from support.metadata_files import TURNS, metadata_files
from support.png_builder import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, chunk, hand_made_png

__all__ = ["Case", "corpus"]

_COLOURS = ((1, 1), (1, 1), (1, 1))
_SAMPLINGS = {
    "4:4:4": _COLOURS,
    "4:2:2": ((2, 1), (1, 1), (1, 1)),
    "4:2:0": ((2, 2), (1, 1), (1, 1)),
    "4:4:0": ((1, 2), (1, 1), (1, 1)),
    "4:1:1": ((4, 1), (1, 1), (1, 1)),
    "4:1:0": ((4, 2), (1, 1), (1, 1)),
    "4:4:1": ((1, 4), (1, 1), (1, 1)),
    "3:1:1": ((3, 1), (1, 1), (1, 1)),
    "each its own": ((2, 2), (2, 1), (1, 2)),
    "colour finer than brightness": ((1, 1), (2, 2), (2, 2)),
}
# jpegtran -arithmetic, and -progressive too, of hand_made(24, 16, 4:2:0, seed=3).
_ARITHMETIC = {
    "sequential": (
        "|JeWF01!$>Nk#wx0RR9200961|JwjV00ssI1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_l"
        "NO1_lNO2LH(b5eNVf02l)SA^-vr00R*K|I7di01yxb0T2-d|Jncy0|5X65d#qbKLFAsT)d+DR*4cP(y7Pwxq0Cf1E$SD@^a@V4T|?9a=!uu9"
        "})2d*$LYCT<H@5>~+PN9{2^wo<tY`H5?;uT#iDwE)sMa6E*vVmDTpGkWhU%>TVC1c-;)@3P!m5nVQv6bEethZkmVCg=>P69$^?q)!SjGyAF6"
        "xg&%NHu+)f-r=eT=$d#QDjTkcfh>*THs2OT`22@`+)3wwPi~rd"
    ),
    "progressive": (
        "|JeWF01!$>Nk#wx0RR9200961|JwjV00ssI1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_lNO1_l"
        "NO1_lNO2LH+c5eNVf02l)SA^-vr00R*K|I7de01yEX|Jncy0|5X65CaeZ00GfIytELhr&ArrKL5-B1P}%P+5iXv0RRC70u^jxBB?D4x<CH_O"
        "Qd_KH8B6o00a>Q|Jncu0RsU6KLHa}ypq*x8K@Nkp_AlH|I7dc5e5I+00;pB0RcY&a4jy2K2iWmto&{9zzF}$00a;P|Jncu0RaF8KLQd8wBKI"
        "xA(;Qn00a;P|Jncu0RaF3KOr9h#+-$JFl}T-OfdU`nj7Ab+ljWeVE@_x3<CiG0ssR5000oA!2iqu1Q7-Q+5iXv0|5a)5Xk|SqZ1-l8moEb0D"
        "%9@00a>Q|Jncu0RjO5KM=s;B*<_l^^0fKcKdlB|I7dc5C#9*00;pA00BP`iR+kGeG(mW!xq4PRGx#&(IBz<X5{VSjqx<;F!mfKzaEc%Y4{5n"
        "8({z0"
    ),
}


@cache
def corpus() -> tuple[Case, ...]:
    """All of it, always the same."""
    intact = (_jpegs, _orientations, _pngs, _other_formats, _tiffs, _sizes, _wrong_names)
    return tuple(case for part in (*intact, bombs, non_images, surplus, cut, flipped) for case in part())


def _jpegs() -> Iterator[Case]:
    options: dict[str, dict[str, object]] = {f"chroma {name}": {"sampling": how} for name, how in _SAMPLINGS.items()}
    options |= {
        f"progressive, {name}": {"sampling": _SAMPLINGS[name], "progressive": True} for name in ("4:4:4", "4:2:0")
    }
    options |= {
        f"restart markers, {each} MCUs": {"sampling": _SAMPLINGS["4:2:0"], "restart": each} for each in (1, 3, 8)
    }
    options |= {
        "grey": {"sampling": ((1, 1),)},
        "grey with factors 2x2": {"sampling": ((2, 2),)},
        "grey, progressive": {"sampling": ((1, 1),), "progressive": True},
        "progressive with restart markers": {"sampling": _SAMPLINGS["4:2:2"], "progressive": True, "restart": 2},
        "stored as RGB, by its names": {"names": b"RGB"},
        "stored as RGB, by Adobe's marker": {"adobe": 0},
        "YCbCr by Adobe's marker": {"adobe": 1},
        "CMYK": {"sampling": ((1, 1),) * 4, "adobe": 0},
        "CMYK without a marker": {"sampling": ((1, 1),) * 4},
        "YCCK": {"sampling": ((1, 1),) * 4, "adobe": 2},
        "YCCK 4:2:0": {"sampling": ((2, 2), (1, 1), (1, 1), (2, 2)), "adobe": 2},
        "CMYK, progressive": {"sampling": ((1, 1),) * 4, "adobe": 0, "progressive": True},
    }
    for seed, (name, how) in enumerate(options.items()):
        made = hand_made(WIDTH, HEIGHT, **{"sampling": _COLOURS, "seed": seed, **how})
        yield Case("JPEG", name, made.data, made.rgb, LOSSY, suffix=".jpg")
    shown = hand_made(24, 16, _SAMPLINGS["4:2:0"], seed=3).rgb
    for name, text in _ARITHMETIC.items():
        yield Case("JPEG", f"arithmetic coding, {name}", base64.b85decode(text), shown, LOSSY, suffix=".jpg")
    made = hand_made(WIDTH, HEIGHT)
    start = made.data.index(b"\xff\xdb")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    icc = b"ICC_PROFILE\0\1\1" + profile
    signs = {
        "ICC profile": _marker(0xE2, icc),
        "damaged ICC profile": _marker(0xE2, icc[: len(icc) // 2]),
        "huge Exif block": _marker(0xE1, exif_block(1).ljust(65_533, b"\0")),
        "3 MB of Exif, XMP and comments": b"".join(_marker(0xE1 + 0x1D * (i % 2), b"x" * 65_000) for i in range(46)),
        "fill bytes before a marker": b"\xff" * 9,
        "a looping Exif block": _marker(0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0"),
    }
    for name, extra in signs.items():
        yield Case("JPEG", name, made.data[:start] + extra + made.data[start:], made.rgb, LOSSY, suffix=".jpg")
    twelve = bytearray(made.data)
    twelve[made.data.index(b"\xff\xc0") + 4] = 12
    yield Case("JPEG", "12 bits", bytes(twelve), message="12 bits per sample", suffix=".jpg")
    lines = bytearray(made.data)
    lines[made.data.index(b"\xff\xc0") + 5 : made.data.index(b"\xff\xc0") + 7] = b"\0\0"
    yield Case("JPEG", "height stated at its end only", bytes(lines), message="61x0", suffix=".jpg")


def _marker(number: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, number, len(content) + 2) + content


def _orientations() -> Iterator[Case]:
    made = hand_made(WIDTH, HEIGHT, _SAMPLINGS["4:2:0"], seed=9)
    rgb = draw_image(2)
    lossless = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
    for orientation, turn in TURNS.items():
        block = exif_block(orientation, order="<>"[orientation % 2], kind=3 + orientation % 3 // 2)
        data = made.data[:2] + _marker(0xE1, block) + made.data[2:]
        yield Case("orientation", f"JPEG {orientation}", data, turn(made.rgb), LOSSY)
        for kind, options in lossless.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            data = encoded(rgb, kind, exif=exif.tobytes() if kind != "TIFF" else exif, **options)
            yield Case("orientation", f"{kind} {orientation}", data, turn(rgb))
        data = encoded(rgb, "AVIF", quality=100, subsampling="4:4:4", exif=block)
        yield Case("orientation", f"AVIF {orientation}", data, turn(rgb), LOSSY)
        yield Case("orientation", f"HEIC {orientation}", _heic(rgb, exif=exif_block(orientation)), turn(rgb), LOSSY)
    for value in (0, 9, 65_535):
        data = made.data[:2] + _marker(0xE1, exif_block(value)) + made.data[2:]
        yield Case("orientation", f"JPEG {value}, which is none", data, made.rgb, LOSSY)
    for file in metadata_files():
        shown = TURNS[file.orientation](file.stored)
        yield Case("orientation", file.name, file.data, shown, file.levels, suffix=file.suffix)


def _heic(rgb: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(rgb)).save(file, quality=-1, chroma=444, matrix_coefficients=0, **options)
    return file.getvalue()


def _pngs() -> Iterator[Case]:
    rng = np.random.default_rng(5)
    rgb = draw_image(1)
    table = rng.integers(0, 256, (256, 3), np.uint8)
    for interlaced in (False, True):
        sort = "interlaced" if interlaced else "plain"
        for depth in (1, 2, 4, 8, 16):
            grey = rng.integers(0, 1 << depth, (HEIGHT, WIDTH, 1))
            shown = np.rint(grey * (255 / ((1 << depth) - 1))).astype(np.uint8).repeat(3, axis=2)
            data = hand_made_png(grey, GREY, depth, interlaced=interlaced)
            yield Case("PNG", f"grey, {depth} bits, {sort}", data, shown, int(depth == 16))
            if depth < 16:
                palette = chunk(b"PLTE", table[: 1 << depth].tobytes())
                for also, extra in {"": b"", " with tRNS": chunk(b"tRNS", b"\0\x80")}.items():
                    data = hand_made_png(grey, PALETTE, depth, interlaced=interlaced, before=palette + extra)
                    yield Case("PNG", f"palette{also}, {depth} bits, {sort}", data, table[grey[..., 0]])
        for depth in (8, 16):
            scale = 1 if depth == 8 else 257
            alpha = rng.integers(0, 1 << depth, (HEIGHT, WIDTH, 1))
            wide = rgb.astype(int) * scale
            kinds = {
                "RGB": (RGB, wide, b""),
                "RGB with tRNS": (RGB, wide, chunk(b"tRNS", struct.pack(">3H", *wide[0, 0]))),
                "RGB and alpha": (RGB_ALPHA, np.dstack([wide, alpha]), b""),
                "grey and alpha": (GREY_ALPHA, np.dstack([wide[..., :1], alpha]), b""),
            }
            for name, (colour, samples, extra) in kinds.items():
                shown = rgb if "RGB" in name else rgb[..., :1].repeat(3, axis=2)
                data = hand_made_png(samples, colour, depth, interlaced=interlaced, before=extra, pieces=3)
                yield Case("PNG", f"{name}, {depth} bits, {sort}", data, shown, int(depth == 16))
    whole = hand_made_png(rgb, RGB, 8, pieces=2)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b" " * 10_000_000))
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 10_000_000))
    yield Case("PNG", "an unknown chunk", hand_made_png(rgb, RGB, 8, before=chunk(b"abCd", b"x" * 70_000)), rgb)
    for name, extra in {"an ICC profile": profile, "a comment": text}.items():
        yield Case("PNG", f"{name} of 10 MB, packed", hand_made_png(rgb, RGB, 8, before=extra), rgb)
    for kind in (b"IHDR", b"IDAT", b"IEND"):
        at = whole.index(kind) + 4 + int.from_bytes(whole[whole.index(kind) - 4 : whole.index(kind)], "big")
        wrong = whole[:at] + b"\0\0\0\0" + whole[at + 4 :]
        yield Case("PNG", f"wrong checksum of {kind.decode()}", wrong, rgb if kind == b"IEND" else None)
    rows = zlib.compress(b"\7" + b"\0" * 3 * WIDTH)
    bad_filter = hand_made_png(rgb, RGB, 8).split(b"IDAT")[0][:-4] + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    yield Case("PNG", "a filter that is none", bad_filter)
    few = hand_made_png(rgb[:20], RGB, 8)
    few = few.replace(few[16:33], hand_made_png(rgb, RGB, 8)[16:33])
    yield Case("PNG", "missing rows", few, message="damaged PNG")


def _other_formats() -> Iterator[Case]:
    rgb = draw_image(3)
    for kind, options in {"WEBP": {"lossless": True}, "BMP": {}, "PPM": {}, "QOI": {}, "SGI": {}, "TGA": {},
                          "JPEG2000": {}, "DIB": {}}.items():  # fmt: skip
        yield Case("other formats", kind, encoded(rgb, kind, **options), rgb)
    yield Case("other formats", "AVIF", encoded(rgb, "AVIF", quality=100, subsampling="4:4:4"), rgb, LOSSY)
    yield Case("other formats", "HEIC", _heic(rgb), rgb, LOSSY)
    yield Case("other formats", "ICO", encoded(draw_image(3, 64, 64), "ICO", sizes=[(64, 64)]), draw_image(3, 64, 64))
    for maximum in (100, 1000, 4095, 65_535):
        samples = np.rint(rgb * (maximum / 255)).astype(np.int64)
        body = samples.astype(">u2" if maximum > 255 else "u1").tobytes()
        shown = np.rint(samples * (255 / maximum)).astype(np.uint8)
        data = f"P6 {WIDTH} {HEIGHT} {maximum}\n".encode() + body
        yield Case("other formats", f"PPM of at most {maximum}", data, shown, 1)
    few = Image.fromarray(rgb).quantize(200)
    shown = np.asarray(few.convert("RGB"))
    other = Image.fromarray(rgb[::-1].copy()).quantize(200)
    yield Case("other formats", "GIF", encoded(few, "GIF"), shown)
    yield Case("other formats", "GIF, interlaced", encoded(few, "GIF", interlace=1), shown)
    yield Case("other formats", "BMP with a palette", encoded(few, "BMP"), shown)
    flipped = bytearray(encoded(rgb[::-1].copy(), "BMP"))
    flipped[22:26] = struct.pack("<i", -HEIGHT)
    yield Case("other formats", "BMP from top to bottom", bytes(flipped), rgb)
    moving = {"GIF": (few, other, shown), "PNG": (Image.fromarray(rgb), Image.fromarray(rgb[::-1].copy()), rgb)}
    moving["WEBP"] = moving["PNG"]
    for kind, (first, second, seen) in moving.items():
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(first, kind, save_all=True, append_images=[second], duration=50, **options)
        yield Case("other formats", f"{kind}, animated: its first frame", data, seen)
    alpha = np.dstack([rgb, draw_image(4)[..., :1]])
    yield Case("other formats", "WEBP with alpha", encoded(alpha, "WEBP", lossless=True, exact=True), rgb)


def _tiffs() -> Iterator[Case]:
    rgb = draw_image(6)
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield Case("TIFF", f"packed: {packing}", encoded(rgb, "TIFF", compression=packing), rgb)
    kinds: dict[str, dict[str, object]] = {
        "tiled": {"tile": (16, 16)},
        "big-endian": {"byteorder": ">"},
        "planar": {"planarconfig": "separate"},
        "BigTIFF": {"bigtiff": True},
        "strips of 5 rows": {"rowsperstrip": 5},
    }
    for name, options in kinds.items():
        file = io.BytesIO()
        data = np.moveaxis(rgb, -1, 0) if name == "planar" else rgb
        tifffile.imwrite(file, data, photometric="rgb", **options)
        yield Case("TIFF", name, file.getvalue(), rgb)
    pages = encoded(Image.fromarray(rgb), "TIFF", save_all=True, append_images=[Image.fromarray(rgb[::-1].copy())])
    yield Case("TIFF", "several pages: the first", pages, rgb)
    grey = np.random.default_rng(2).integers(0, 65_536, (HEIGHT, WIDTH), np.uint16)
    shown = np.rint(grey / 257.0).astype(np.uint8)[..., None].repeat(3, axis=2)
    for order in "<>":
        file = io.BytesIO()
        tifffile.imwrite(file, grey, byteorder=order, photometric="minisblack")
        yield Case("TIFF", f"16 bits, grey, {order}", file.getvalue(), shown, 1)
    floats = encoded(np.linspace(0, 1, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH), "TIFF")
    yield Case("TIFF", "floating-point samples", floats, message="floating-point samples have no fixed range")
    yield Case("TIFF", "32-bit samples", encoded(Image.new("I", (20, 20)), "TIFF"), message="32-bit samples")
    yield from _tiff_samples(rgb)
    yield from _tiff_pages(rgb)
    looping = bytearray(encoded(rgb, "TIFF"))
    looping[-4:] = looping[4:8]
    yield as_pillow("TIFF", "a folder of entries that leads to itself", bytes(looping))


def _tiff_samples(rgb: np.ndarray) -> Iterator[Case]:
    wide = rgb.astype(int) * 257
    storages: dict[str, dict[str, object]] = {
        "planes": {"planar": True},
        "planes in tiles, LZW with predictor": {"planar": True, "tile": 16, "packing": "lzw", "predictor": True},
        "tiles, deflate with predictor": {"tile": 32, "packing": "deflate", "predictor": True},
        "packbits": {"packing": "packbits"},
    }
    for order in "<>":
        for name, how in storages.items():
            data = tiff_builder.tiff(tiff_builder.page(wide, bits=16, order=order, **how), order=order)
            yield Case("TIFF", f"16 bits, {name}, {order}", data, rgb)
    for bits in (2, 4, 10, 12, 14, 32):
        samples = np.rint(rgb * (((1 << bits) - 1) / 255)).astype(np.int64)
        shown = np.rint(samples * (255 / ((1 << bits) - 1))).astype(np.uint8)
        yield Case("TIFF", f"{bits} bits", tiff_builder.tiff(tiff_builder.page(samples, bits=bits)), shown)
        white = tiff_builder.page(samples[..., :1], tiff_builder.WHITE_IS_ZERO, bits)
        yield Case("TIFF", f"{bits} bits, 0 is white", tiff_builder.tiff(white), 255 - shown[..., :1].repeat(3, axis=2))
    signed = tiff_builder.tiff(tiff_builder.page(wide // 2, bits=16, tags={339: ("H", [2, 2, 2])}))
    yield Case("TIFF", "signed samples", signed, message="signed 16-bit samples")


def _tiff_pages(rgb: np.ndarray) -> Iterator[Case]:
    thumb, full = np.full((9, 12, 3), 99), tiff_builder.page(rgb)
    for name, tags in {"copy": {254: ("I", [1])}, "copy by the old tag": {255: ("H", [2])}}.items():
        for subpages in (0, 1):
            data = tiff_builder.tiff(tiff_builder.page(thumb, tags=tags), full, subpages=subpages)
            yield Case("TIFF", f"a reduced {name} first, then {'a subpage' if subpages else 'a page'}", data, rgb)
    raw = tiff_builder.page(rgb[..., :1], tiff_builder.CFA)
    for name, more in {"NEF": {}, "DNG": {50_706: ("B", [1, 4, 0, 0])}}.items():
        data = tiff_builder.tiff(tiff_builder.page(thumb, tags={254: ("I", [1]), **more}), raw, subpages=1)
        yield Case("TIFF", f"camera raw, like {name}", data, message=f"camera raw ({name}")


def _sizes() -> Iterator[Case]:
    dot = np.full((1, 1, 3), (200, 100, 50), np.uint8)
    yield Case("odd sizes", "1x1 PNG", encoded(dot, "PNG"), dot)
    for kind, levels in {"JPEG": 8, "WEBP": 0}.items():
        options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0}
        yield Case("odd sizes", f"1x1 {kind}", encoded(dot, kind, **options), dot, levels)
    for width, height in ((1, 3000), (3000, 1), (65_500, 1), (1, 65_500)):
        for kind in ("PNG", "JPEG"):
            data = encoded(Image.new("RGB", (width, height)), kind)
            yield Case("odd sizes", f"{width}x{height} {kind}", data, error=ImageSizeError, message=f"{width}x{height}")
    for width, height in ((7, 9), (16, 16), (17, 33)):
        made = hand_made(width, height, _SAMPLINGS["4:2:0"], seed=width)
        yield Case("odd sizes", f"{width}x{height} JPEG", made.data, made.rgb, LOSSY)


def _wrong_names() -> Iterator[Case]:
    rgb = draw_image(7)
    made = hand_made(WIDTH, HEIGHT, seed=7)
    files = {"PNG": encoded(rgb, "PNG"), "WEBP": encoded(rgb, "WEBP", lossless=True), "BMP": encoded(rgb, "BMP")}
    for kind, data in files.items():
        yield Case("wrong extensions", f"{kind} called .jpg", data, rgb, suffix=".jpg")
        yield Case("wrong extensions", f"{kind} called .tiff", data, rgb, suffix=".tiff")
    for suffix in (".png", ".webp", ".gif", ".txt", ""):
        yield Case("wrong extensions", f"JPEG called {suffix or 'nothing'}", made.data, made.rgb, LOSSY, suffix=suffix)
