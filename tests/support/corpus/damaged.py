"""The damaged and hostile part of the corpus: bombs, non-images, garbage, truncated files, flipped bytes."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import tifffile
from PIL import Image

from depth_anything_3.errors import DA3Error, ImageSizeError
from support.corpus.case import HEIGHT, LOSSY, WIDTH, Case, as_pillow, draw_image
from support.images import encoded
from support.jpeg_builder import hand_made
from support.png_builder import RGB, chunk, claiming, hand_made_png

__all__ = ["bombs", "cut", "flipped", "non_images", "surplus"]

_HALVED = ((2, 2), (1, 1), (1, 1))


def bombs() -> Iterator[Case]:
    jpeg = bytearray(hand_made(64, 64).data)
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    bmp = bytearray(encoded(draw_image(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    gif = bytearray(encoded(Image.fromarray(draw_image()).quantize(8), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    webp = bytearray(encoded(draw_image(), "WEBP", lossless=True))
    webp[21:25] = struct.pack("<I", 16_383 | 16_383 << 14)
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, np.zeros((8, 8, 3), np.uint8), photometric="rgb", metadata=None, software=None)
    tiled = bytearray(tiff.getvalue())
    for tag in (256, 257):
        at = tiled.index(struct.pack("<H", tag), 8)
        tiled[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 90_000)
    jp2 = bytearray(encoded(draw_image(), "JPEG2000"))
    at = jp2.index(b"ihdr")
    jp2[at + 4 : at + 12] = struct.pack(">II", 100_000, 100_000)
    avif = bytearray(encoded(draw_image(), "AVIF"))
    at = avif.index(b"ispe")
    avif[at + 8 : at + 16] = struct.pack(">II", 60_000, 60_000)
    files = {
        "JPEG of 65500x65500": bytes(jpeg),
        "PNG of 50000x50000": claiming(50_000, 50_000),
        "PNG of 15000x15000": claiming(15_000, 15_000),
        "PNG of 2147483647x2147483647": claiming(2**31 - 1, 2**31 - 1),
        "BMP of 60000x60000": bytes(bmp),
        "GIF of 65535x65535": bytes(gif),
        "WebP of 16384x16384": bytes(webp),
        "TIFF of 90000x90000": bytes(tiled),
        "PPM of 100000x100000": b"P6 100000 100000 255\n" + b"\0" * 100,
        "QOI of 100000x100000": b"qoif" + struct.pack(">IIBB", 100_000, 100_000, 3, 0) + b"\0" * 8,
        "TGA of 65535x65535": bytes([0, 0, 2, *[0] * 9, 255, 255, 255, 255, 24, 0]) + b"\0" * 64,
        "SGI of 65535x65535": struct.pack(">HBBHHHH", 474, 0, 1, 3, 65_535, 65_535, 3).ljust(600, b"\0"),
        "JPEG 2000 of 100000x100000": bytes(jp2),
    }
    for name, data in files.items():
        yield Case("bombs", name, data, error=ImageSizeError, message="the header states")
    yield Case("bombs", "AVIF of 60000x60000", bytes(avif))
    whole = hand_made_png(draw_image(), RGB, 8)
    greedy = whole[:-12] + struct.pack(">I", 0x7FFF0000) + b"tEXt" + whole[-12:]
    yield Case("bombs", "PNG with a chunk of 2 GB behind its pixels", greedy, message="truncated PNG")
    # Too few rows, then a second image whose filter is none: OpenCV 5.0 ends the process.
    animated = whole[:33] + chunk(b"acTL", struct.pack(">II", 2, 0))
    animated += chunk(b"IDAT", zlib.compress(b"\1" * (3 * WIDTH + 1) * 10))
    animated += chunk(b"fcTL", struct.pack(">5I2H2B", 1, WIDTH, HEIGHT, 0, 0, 1, 0, 0, 0))
    animated += chunk(b"fdAT", b"\0\0\0\2" + zlib.compress(b"\x63" * (3 * WIDTH + 1) * HEIGHT)) + whole[-12:]
    yield Case("bombs", "animated PNG of damaged pixels", animated)
    packed = zlib.compress(b"\0" * 20_000_000, 9)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, RGB, 0, 0, 0)
    data = claiming(1, 1)[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    yield Case("bombs", "PNG with 20 MB of rows too many", data, np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def non_images() -> Iterator[Case]:
    files = {
        "text": b"hello, this is not an image\n" * 50,
        "HTML, as servers send it in place of an image": b"<!DOCTYPE html><html><body>404</body></html>",
        "zeros": b"\0" * 5000,
        "noise": random.Random(1).randbytes(5000),
        "PDF": b"%PDF-1.7\n" + b"x" * 500,
        "EPS, which would start a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "ZIP": b"PK\3\4" + b"\0" * 100,
        "pickle": b"\x80\4cos\nsystem\n(S'true'\ntR.",
        "npy": b"\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (9, 9), }".ljust(500),
        "MP4": b"\0\0\0\x20ftypisom" + b"\0" * 200,
        "one byte": b"\xff",
        "JPEG's first three bytes": b"\xff\xd8\xff",
        "JPEG's first and last marker": b"\xff\xd8\xff\xd9",
        "PNG's signature": b"\x89PNG\r\n\x1a\n",
        "empty HEIC box": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "empty AVIF box": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1",
    }
    for name, data in files.items():
        yield Case("not images", name, data, suffix=".jpg")


def surplus() -> Iterator[Case]:
    rgb, made = draw_image(8), hand_made(WIDTH, HEIGHT, _HALVED, seed=8)
    files = {"JPEG": (made.data, made.rgb, LOSSY)}
    for kind in ("PNG", "WEBP", "BMP", "TIFF"):
        files[kind] = (encoded(rgb, kind, **({"lossless": True} if kind == "WEBP" else {})), rgb, 0)
    for kind, (data, shown, levels) in files.items():
        for name, more in {"zeros": b"\0" * 3000, "noise": random.Random(2).randbytes(3000), "an image": data}.items():
            yield Case("extra data", f"{kind}, then {name}", data + more, shown, levels)
        yield Case("extra data", f"zeros, then {kind}", b"\0" * 64 + data)
        yield Case("extra data", f"text, then {kind}", b"Content-Type: image\r\n\r\n" + data)


def _files_to_break() -> dict[str, bytes]:
    rgb = draw_image(11, 48, 32)
    files = {"JPEG 4:2:0": hand_made(48, 32, _HALVED, seed=1).data, "JPEG 4:4:4": hand_made(48, 32, seed=1).data}
    files["JPEG progressive"] = hand_made(48, 32, _HALVED, seed=2, progressive=True).data
    files["JPEG restart"] = hand_made(48, 32, ((2, 1), (1, 1), (1, 1)), seed=3, restart=2).data
    files["JPEG CMYK"] = hand_made(48, 32, ((1, 1),) * 4, seed=4, adobe=0).data
    files["PNG"] = hand_made_png(rgb, RGB, 8, pieces=3)
    files["PNG interlaced"] = hand_made_png(rgb, RGB, 8, interlaced=True)
    files["WEBP"] = encoded(rgb, "WEBP", lossless=True)
    files["WEBP lossy"] = encoded(rgb, "WEBP", quality=80)
    files |= {kind: encoded(rgb, kind) for kind in ("BMP", "TIFF", "QOI", "PPM", "AVIF")}
    files["GIF"] = encoded(Image.fromarray(rgb).quantize(64), "GIF")
    return files


def cut() -> Iterator[Case]:
    for kind, data in _files_to_break().items():
        points = {2, 3, 5, 9, 12, 17, 25, *(len(data) * part // 16 for part in range(1, 16)), len(data) - 1}
        if kind.startswith("JPEG"):
            points |= {len(data) - 2, len(data) - 3}
        for length in sorted(points):
            name = f"{kind} after {length} of {len(data)} bytes"
            if kind.startswith("PNG"):  # of whose end Pillow does not look at the checksum
                yield Case("truncated", name, data[:length], error=DA3Error)
            else:
                yield as_pillow("truncated", name, data[:length])


def flipped() -> Iterator[Case]:
    for kind, data in _files_to_break().items():
        moments = random.Random(kind)
        places = [*moments.sample(range(min(64, len(data))), 10), *moments.sample(range(len(data)), 15)]
        for place in sorted(set(places)):
            broken = bytearray(data)
            broken[place] ^= moments.choice((0xFF, 0x01, 0x80, 0x55))
            if kind.startswith("PNG") and place < len(data) - 8:  # within what checksums cover; Pillow looks at some
                yield Case("flipped bytes", f"{kind} at {place}", bytes(broken), error=DA3Error)
            else:
                yield as_pillow("flipped bytes", f"{kind} at {place}", bytes(broken))
