"""Image files that state their orientation and lens in the places where software writes them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from support.images import encoded
from support.jpeg_builder import hand_made
from support.png_builder import RGB, chunk, hand_made_png

__all__ = ["TURNS", "MetadataFile", "app1", "block_of", "metadata_files", "short", "turned_tiff", "xmp_of"]

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_GUID = b"0123456789ABCDEF0123456789ABCDEF"
_WIDTH, _HEIGHT = 61, 43
LENS_35MM = 28

Entry = tuple[int, int, int, bytes]


@dataclass(frozen=True, eq=False)
class MetadataFile:
    """A file, what it states, and its pixels.

    Attributes:
        name: what it is.
        data: its bytes.
        orientation: as ExifTool and Pillow's `exif_transpose` read it; where they disagree, as decided.
        stored: (H, W, 3) uint8 RGB as stored.
        levels: by how much pixels may differ.
        lens: whether it states a 35 mm equivalent of 28 mm.
        suffix: of its name.
        as_pil: whether Pillow gives its metadata once it has loaded the image.
    """

    name: str
    data: bytes
    orientation: int
    stored: np.ndarray
    levels: int = 0
    lens: bool = True
    suffix: str = ".png"
    as_pil: bool = True

    def __str__(self) -> str:
        return self.name


def short(tag: int, value: int, order: str = "<") -> Entry:
    """An entry of one 16-bit number."""
    return tag, 3, 1, struct.pack(order + "H", value)


def block_of(
    *first: Entry, lens: int | None = LENS_35MM, second: tuple[Entry, ...] = (), order: str = "<", prefix: bool = True
) -> bytes:
    """An Exif block of entries in its first directory, with a lens, and entries in the thumbnail's directory."""

    def directory(entries: list[Entry], at: int, following: int = 0) -> bytes:
        values, fields = b"", b""
        for tag, kind, count, value in sorted(entries):
            field = value
            if len(value) > 4:
                field = struct.pack(order + "I", at + 2 + 12 * len(entries) + 4 + len(values))
                values += value
            fields += struct.pack(order + "HHI", tag, kind, count) + field.ljust(4, b"\0")
        return struct.pack(order + "H", len(entries)) + fields + struct.pack(order + "I", following) + values

    entries, folder = list(first), b""
    size = len(directory([*entries, (0x8769, 4, 1, b"\0" * 4)][: len(entries) + (lens is not None)], 8))
    if lens is not None:
        folder = directory([short(0xA405, lens, order)], 8 + size)
        entries.append((0x8769, 4, 1, struct.pack(order + "I", 8 + size)))
    thumbnail = directory(list(second), 8 + size + len(folder)) if second else b""
    start = directory(entries, 8, 8 + size + len(folder) if second else 0)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return (b"Exif\0\0" if prefix else b"") + head + start + folder + thumbnail


def xmp_of(body: str, attributes: str = "", prefix: str = "tiff") -> bytes:
    """An XMP packet of elements and attributes of one description."""
    return (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
        "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about=''\n "
        f"xmlns:{prefix}='http://ns.adobe.com/tiff/1.0/' xmlns:exif='http://ns.adobe.com/exif/1.0/'\n {attributes}>"
        f"{body}</rdf:Description></rdf:RDF></x:xmpmeta>\n<?xpacket end='w'?>"
    ).encode()


def app1(content: bytes) -> bytes:
    """A JPEG's APP1 segment."""
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


_ELEMENTS = "<tiff:Orientation>{}</tiff:Orientation><exif:FocalLengthIn35mmFilm>28</exif:FocalLengthIn35mmFilm>"
_ATTRIBUTES = 'tiff:Orientation="{}" exif:FocalLengthIn35mmFilm="28"'


def metadata_files() -> list[MetadataFile]:
    """All of them, always the same."""
    return [*_jpegs(), *_pngs(), *_others()]


def _jpegs() -> Iterator[MetadataFile]:
    made = hand_made(_WIDTH, _HEIGHT, ((2, 2), (1, 1), (1, 1)), seed=9)
    ffe0, frame = 2, made.data.index(b"\xff\xc0")
    scan = made.data.index(b"\xff\xda")

    def jpeg(name: str, orientation: int, *segments: bytes, at: int = ffe0, lens: bool = True) -> MetadataFile:
        data = made.data[:at] + b"".join(map(app1, segments)) + made.data[at:]
        return MetadataFile(f"JPEG, {name}", data, orientation, made.rgb, 4, lens, ".jpg")

    exif = block_of(short(0x112, 6))
    yield jpeg("Exif", 6, exif)
    yield jpeg("Exif, big-endian", 8, block_of(short(0x112, 8, ">"), order=">"))
    yield jpeg("Exif behind the frame header", 6, exif, at=scan)
    yield jpeg("Exif before the frame header", 6, exif, at=frame)
    types = {"BYTE": (1, "B"), "LONG": (4, "I"), "SBYTE": (6, "b"), "UNDEFINED": (7, "B"), "SSHORT": (8, "h"),
             "SLONG": (9, "i"), "FLOAT": (11, "f"), "DOUBLE": (12, "d")}  # fmt: skip
    for order in "<>":
        for kind, (number, form) in types.items():
            entry = 0x112, number, 1, struct.pack(order + form, 7)
            yield jpeg(f"orientation as {kind}, {order}", 7, block_of(entry, order=order))
        for number, form in {5: "II", 10: "ii"}.items():
            entry = 0x112, number, 1, struct.pack(order + form, 10, 2)
            yield jpeg(f"orientation as type {number}, {order}", 5, block_of(entry, order=order))
    yield jpeg("orientation as text", 6, block_of((0x112, 2, 2, b"6\0")))
    yield jpeg("two numbers as orientation", 6, block_of((0x112, 3, 2, struct.pack("<HH", 6, 6))))
    yield jpeg("three numbers as orientation", 6, block_of((0x112, 3, 3, struct.pack("<HHH", 6, 1, 1))))
    yield jpeg("no number as orientation", 1, block_of((0x112, 3, 0, b"\6")))
    for value in (0, 9, 255, 65_535):
        yield jpeg(f"orientation {value}, which is none", 1, block_of(short(0x112, value)))
    yield jpeg("orientation -6, which is none", 1, block_of((0x112, 8, 1, struct.pack("<h", -6))))
    yield jpeg("orientation 6.5, which is none", 1, block_of((0x112, 5, 1, struct.pack("<II", 13, 2))))
    yield jpeg("orientation of the thumbnail", 1, block_of(second=(short(0x112, 6),)))
    yield jpeg("another orientation of the thumbnail", 6, block_of(short(0x112, 6), second=(short(0x112, 3),)))
    yield jpeg("the prefix twice", 6, b"Exif\0\0" + exif)
    yield jpeg("two Exif segments", 6, exif, block_of(short(0x112, 3)))
    yield jpeg("an empty Exif segment, then another", 6, b"Exif\0\0", exif)
    long = block_of((0x10E, 2, 65_000, b"x" * 65_000), short(0x112, 6))  # the lens is behind the text
    yield jpeg("Exif over two segments", 6, long[:60_000], b"Exif\0\0" + long[60_000:])
    yield jpeg("a directory beyond the block", 1, b"Exif\0\0II*\0\xff\xff\0\0" + exif[14:], lens=False)
    element, attribute = xmp_of(_ELEMENTS.format(6)), xmp_of("", _ATTRIBUTES.format(6))
    yield jpeg("XMP, element", 6, _XMP + element)
    yield jpeg("XMP, attribute", 6, _XMP + attribute)
    yield jpeg("XMP, attribute in single quotes", 6, _XMP + xmp_of("", _ATTRIBUTES.format(6).replace('"', "'")))
    yield jpeg("XMP, spaces", 6, _XMP + xmp_of("", _ATTRIBUTES.format(6).replace("=", " = ")))
    yield jpeg("XMP, element with spaces", 6, _XMP + xmp_of(_ELEMENTS.replace("{}", "\n  {}\n").format(6)))
    other = _ELEMENTS.format(6).replace("tiff:", "t:")
    yield jpeg("XMP, another prefix", 6, _XMP + xmp_of(other, prefix="t"))
    yield jpeg("XMP, UTF-16", 6, _XMP + element.decode().encode("utf-16-be"))
    yield jpeg("XMP, orientation 9", 1, _XMP + xmp_of(_ELEMENTS.format(9)))
    yield jpeg("XMP behind the frame header", 6, _XMP + element, at=scan)
    yield jpeg("XMP that contradicts Exif", 8, block_of(short(0x112, 8)), _XMP + element)
    yield jpeg("XMP beside an upright Exif", 1, block_of(short(0x112, 1)), _XMP + element)
    yield jpeg("XMP beside an invalid Exif", 1, block_of(short(0x112, 0)), _XMP + element)
    yield jpeg("Exif with the lens, XMP with the orientation", 6, block_of(), _XMP + xmp_of(_ELEMENTS.format(6)))
    yield jpeg("Exif with the orientation, XMP with the lens", 8, block_of(short(0x112, 8), lens=None), _XMP + element)
    yield jpeg("two XMP packets", 6, _XMP + xmp_of(_ELEMENTS.format(3)), _XMP + element)
    note = f'xmpNote:HasExtendedXMP="{_GUID.decode()}"'
    pieces = [
        _EXTENSION + _GUID + struct.pack(">II", len(element), at) + element[at : at + 200] for at in (400, 200, 0)
    ]
    yield jpeg("extended XMP, in any order", 6, _XMP + xmp_of("", note), *pieces)
    strange = [one.replace(_GUID, b"F" * 32) for one in pieces]
    yield jpeg("extended XMP of another file", 1, _XMP + xmp_of("", note), *strange, lens=False)


def _pngs() -> Iterator[MetadataFile]:
    rgb = hand_made(_WIDTH, _HEIGHT, seed=3).rgb
    whole = hand_made_png(rgb, RGB, 8, pieces=2)
    exif, element = block_of(short(0x112, 6)), xmp_of(_ELEMENTS.format(6))
    text, app = _profile("exif", exif), _profile("APP1", exif)
    packed = zlib.compress(text)
    kinds = {
        "eXIf": chunk(b"eXIf", exif[6:]),
        "eXIf with prefix": chunk(b"eXIf", exif),
        "tEXt": chunk(b"tEXt", b"Raw profile type exif\0" + text),
        "zTXt": chunk(b"zTXt", b"Raw profile type exif\0\0" + packed),
        "iTXt": chunk(b"iTXt", b"Raw profile type exif\0\0\0\0\0" + text),
        "iTXt, packed": chunk(b"iTXt", b"Raw profile type exif\0\1\0en\0Exif\0" + packed),
        "tEXt without prefix": chunk(b"tEXt", b"Raw profile type exif\0" + _profile("exif", exif[6:])),
        "APP1": chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(app)),
        "APP1 with XMP": chunk(b"tEXt", b"Raw profile type APP1\0" + _profile("APP1", _XMP + element)),
        "raw XMP": chunk(b"tEXt", b"Raw profile type xmp\0" + _profile("xmp", element)),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + element),
        "XMP, packed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(element)),
        "XMP as tEXt": chunk(b"tEXt", b"XML:com.adobe.xmp\0" + element),
        "eXIf and XMP that contradicts it": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_of(_ELEMENTS.format(3)))
        + chunk(b"eXIf", exif[6:]),
    }
    for name, extra in kinds.items():
        yield MetadataFile(f"PNG, {name} before IDAT", whole[:33] + extra + whole[33:], 6, rgb)
        yield MetadataFile(f"PNG, {name} behind IDAT", whole[:-12] + extra + whole[-12:], 6, rgb)
    bomb = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text + b" " * 20_000_000, 9))
    yield MetadataFile("PNG, 20 MB of Exif behind IDAT", whole[:-12] + bomb + whole[-12:], 6, rgb, as_pil=False)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG", save_all=True, append_images=[Image.fromarray(rgb[::-1].copy())])
    animated = file.getvalue()
    yield MetadataFile("PNG, eXIf behind an animation", animated[:-12] + kinds["eXIf"] + animated[-12:], 6, rgb)
    yield MetadataFile("PNG, Exif as text", whole[:33] + chunk(b"tEXt", b"exif\0" + exif) + whole[33:], 6, rgb)
    both = whole[:33] + chunk(b"eXIf", block_of(short(0x112, 3))[6:]) + whole[33:-12] + kinds["eXIf"] + whole[-12:]
    yield MetadataFile("PNG, two eXIf", both, 6, rgb)


def _profile(kind: str, content: bytes) -> bytes:
    """A profile as ImageMagick writes it in text."""
    digits = content.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{kind}\n{len(content):8d}\n{lines}\n".encode()


def _others() -> Iterator[MetadataFile]:
    rgb = hand_made(_WIDTH, _HEIGHT, seed=3).rgb
    exif, packet = block_of(short(0x112, 6)), xmp_of(_ELEMENTS.format(6))
    webp = {"exif": {"exif": exif}, "Exif without prefix": {"exif": exif[6:]}, "XMP": {"xmp": packet},
            "XMP that contradicts Exif": {"exif": exif, "xmp": xmp_of(_ELEMENTS.format(3))}}  # fmt: skip
    for name, options in webp.items():
        yield MetadataFile(f"WebP, {name}", encoded(rgb, "WEBP", lossless=True, **options), 6, rgb, suffix=".webp")
    mpo = encoded(
        rgb, "MPO", save_all=True, append_images=[Image.fromarray(rgb)], exif=exif, quality=100, subsampling=0
    )
    yield MetadataFile("MPO", mpo, 6, rgb, 8, suffix=".mpo")
    jp2 = encoded(rgb, "JPEG2000")
    boxes = {"Exif": b"JpgTiffExif->JP2" + exif[6:], "Exif with prefix": b"JpgTiffExif->JP2" + exif,
             "XMP": bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet}  # fmt: skip
    at = jp2.index(b"jp2c") - 4
    for name, content in boxes.items():
        box = struct.pack(">I", len(content) + 8) + b"uuid" + content
        data = jp2[:at] + box + jp2[at:]
        yield MetadataFile(f"JPEG 2000, {name}", data, 6, rgb, suffix=".jp2", as_pil=False)
    exact = {"quality": 100, "subsampling": "4:4:4"}
    for orientation in (1, 6, 5):
        data = encoded(rgb, "AVIF", exif=block_of(short(0x112, orientation)), **exact)
        yield MetadataFile(f"AVIF, rotated by its container to {orientation}", data, orientation, rgb, 4)
    data = encoded(rgb, "AVIF", exif=block_of(), xmp=packet, **exact)
    yield MetadataFile("AVIF, XMP, which does not count", data, 1, rgb, 4)
    for orientation in (1, 3, 5, 6, 8):
        yield turned_tiff(rgb, {274: orientation}, orientation)
    yield turned_tiff(rgb, {}, 6, xmp=packet)
    yield turned_tiff(rgb, {}, 6, xmp=packet.replace(b"<tiff:Orientation>", b"<tiff:Orientation >"))
    yield turned_tiff(rgb, {274: 8}, 8, xmp=packet)
    yield turned_tiff(rgb, {274: 8}, 8, compression="tiff_lzw")
    yield turned_tiff(np.repeat(rgb[..., :1], 3, axis=2), {274: 6}, 6, mode="I;16")


def turned_tiff(
    rgb: np.ndarray,
    tags: dict[int, int],
    orientation: int,
    *,
    xmp: bytes = b"",
    compression: str | None = None,
    mode: str = "RGB",
) -> MetadataFile:
    """A TIFF with tags in its directory, and the lens in its Exif directory."""
    exif = Image.Exif()
    exif.update(tags)
    if compression is None:  # libtiff writes no directories
        exif.get_ifd(0x8769)[0xA405] = LENS_35MM
        exif[0x8769] = 0  # replaced by that directory
    if xmp:
        exif[700] = xmp
    pixels = rgb[..., 0].astype(np.uint16) * 257 if mode == "I;16" else rgb
    data = encoded(Image.fromarray(pixels), "TIFF", exif=exif, compression=compression)
    name = ", ".join(filter(None, (f"TIFF, {tags}", "XMP" * bool(xmp), compression, mode)))
    return MetadataFile(name, data, orientation, rgb, lens=compression is None, suffix=".tif", as_pil=False)
