"""Time JPEG decoding on the CPU with each library that is available as a wheel.

    uv run python benchmarks/decoders.py [--quick] [--json] [--markdown] [--sizes FHD 4K 12MP] [--qualities 75 95]

Times the step from the bytes of a file in memory to uint8 RGB pixels. The library allocates the result each time, so
that all libraries pay for new memory pages; one row decodes into a scratch buffer, as this package does. There are two
cases: one file on one thread, and four files on all available cores, with one call per file on a thread pool. Libraries
may not start threads of their own. Libraries that can do so also decode at 1/2, 1/4 and 1/8 of the size, on one thread;
1/8 is nearly all entropy decoding, the lower bound for decoders built on libjpeg-turbo. The libraries take turns, in
another order each round. "Times faster" is OpenCV's time at full size over the library's, as the median of the rounds.
"CPU ms" is the processor time of all threads, which other load on the machine affects less. "Max levels" is the largest
difference from Pillow's pixels at the same scale.

The full table needs these packages beside the development dependencies (for libturbojpeg 3 without the "<2"):

    uv pip install kornia-rs "PyTurboJPEG<2" && apt-get install libturbojpeg0
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import distributions
from itertools import groupby, product

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, features
from rich.console import Console

from depth_anything_3.runtime.threads import usable_cores
from harness.fidelity import difference
from harness.images import SIZES, encode, make_images
from harness.machine import describe_machine
from harness.report import Block, as_json, print_report
from harness.timing import Timing, first_line, take_turns, timed

__all__ = ["DecoderRow", "Library", "find_libraries", "time_libraries"]

Pixels = npt.NDArray[np.uint8]
Decode = Callable[[bytes], Pixels]

MIN_ROUNDS = 15
_WARM_UP = 2
_SCALES = (1, 2, 4, 8)
_RAISED = (ImportError, RuntimeError, OSError, ValueError, TypeError, AttributeError, cv2.error)  # by these libraries
_OPTIONAL = ("PyTurboJPEG", "kornia-rs")
_COLUMNS = ("library", "scale", "median ms", "p90 ms", "CPU ms", "times faster", "max levels")


@dataclass(frozen=True)
class Library:
    """A library that decodes files at 1/scale of their size to (H, W, 3) RGB."""

    name: str
    scale: int
    decode: Decode


@dataclass(frozen=True)
class DecoderRow:
    """One library with one kind of files, so many at once on so many threads; milliseconds for all of them.

    Times faster is over OpenCV at full size; levels are against Pillow at the same scale, None where the sizes differ.
    """

    size: str
    subsampling: str
    quality: int
    files: int
    threads: int
    library: str
    scale: int
    median_ms: float
    p90_ms: float
    cpu_ms: float
    times_faster: float
    max_levels: int | None
    times_ms: tuple[float, ...]


def _opencv(scale: int) -> Decode:
    # The flags for reduced grey: those for reduced colour would also ask for BGR.
    grey = (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_GRAYSCALE_8)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | dict(zip(_SCALES, (0, *grey), strict=True))[scale]
    return lambda data: np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags), np.uint8)


def _pillow(scale: int) -> Decode:
    def decode(data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data)) as image:
            if scale > 1:
                image.draft("RGB", (image.width // scale, image.height // scale))
            return np.array(image.convert("RGB"))

    return decode


def _simplejpeg(scale: int) -> Decode:
    import simplejpeg

    def decode(data: bytes) -> Pixels:
        height, width, *_ = (0, 0) if scale == 1 else simplejpeg.decode_jpeg_header(data)
        # It takes the least size wanted, not a factor; 0 asks for all.
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height // scale, min_width=width // scale)
        return pixels

    return decode


def _simplejpeg_scratch(_scale: int) -> Decode:
    import simplejpeg

    own = threading.local()

    def decode(data: bytes) -> Pixels:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if getattr(own, "buffer", np.empty(0)).size != 3 * height * width:
            own.buffer = np.empty(3 * height * width, np.uint8)
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=own.buffer)
        return pixels

    return decode


def _turbojpeg(scale: int) -> Decode:
    import turbojpeg

    library, factor = turbojpeg.TurboJPEG(), None if scale == 1 else (1, scale)
    return lambda data: library.decode(data, turbojpeg.TJPF_RGB, factor)


def _torchvision(_scale: int) -> Decode:
    from torchvision.io import ImageReadMode, decode_jpeg

    mode = ImageReadMode.RGB
    return lambda data: decode_jpeg(torch.frombuffer(data, dtype=torch.uint8), mode).permute(1, 2, 0).numpy()


def _torchcodec(_scale: int) -> Decode:
    from torchcodec.decoders import decode_jpeg

    return lambda data: decode_jpeg(data).permute(1, 2, 0).numpy()


def _kornia(name: str, *options: str) -> Callable[[int], Decode]:
    def maker(_scale: int) -> Decode:
        decode = getattr(import_module("kornia_rs.io"), name)
        return lambda data: decode(data, *options)

    return maker


def _nvimgcodec(_scale: int) -> Decode:
    from nvidia import nvimgcodec

    params = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)
    own = threading.local()  # a decoder serves one thread

    def decode(data: bytes) -> Pixels:
        if not hasattr(own, "decoder"):
            backends = [nvimgcodec.Backend(nvimgcodec.BackendKind.CPU_ONLY)]
            device = nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY
            own.decoder = nvimgcodec.Decoder(device, 1, backends=backends, options=":fancy_upsampling=1")
        return np.asarray(own.decoder.decode(data, params=params))

    return decode


_DECODERS: dict[str, tuple[Callable[[int], Decode], Sequence[int]]] = {
    "OpenCV": (_opencv, _SCALES),  # the first is what the others are compared with
    "Pillow": (_pillow, _SCALES),
    "simplejpeg": (_simplejpeg, _SCALES),
    "simplejpeg, scratch buffer": (_simplejpeg_scratch, (1,)),
    "PyTurboJPEG": (_turbojpeg, _SCALES),
    "torchvision": (_torchvision, (1,)),
    "torchcodec": (_torchcodec, (1,)),
    "kornia-rs (turbo)": (_kornia("decode_image_jpegturbo", "rgb"), (1,)),
    "kornia-rs (Rust)": (_kornia("decode_image_jpeg"), (1,)),
    "nvImageCodec": (_nvimgcodec, (1,)),
}


def find_libraries(probe: bytes) -> tuple[list[Library], dict[str, str]]:
    """List the libraries that can decode a file here, and why the others cannot."""
    libraries: list[Library] = []
    missing: dict[str, str] = {}
    for name, (maker, scales) in _DECODERS.items():
        try:
            found = [Library(name, scale, maker(scale)) for scale in scales]
            if any(one.decode(probe).ndim != 3 for one in found):
                raise ValueError("no image came out")
            libraries += found
        except _RAISED as error:
            missing[name] = first_line(error)
    return sorted(libraries, key=lambda one: one.scale), missing


def time_libraries(
    libraries: Sequence[Library], files: Sequence[bytes], *, rounds: int, threads: int
) -> dict[Library, Timing]:
    """Time each library on all files, one call per file on a number of threads."""
    with ThreadPoolExecutor(threads) as pool:

        def decode_all(decode: Decode) -> list[Pixels]:
            return list(map(decode, files) if threads == 1 else pool.map(decode, files))

        calls = {f"{one.name}, {one.scale}": timed(partial(decode_all, one.decode)) for one in libraries}
        timings = take_turns(calls, rounds=rounds, warm_up=_WARM_UP)
    return dict(zip(libraries, timings.values(), strict=True))


def _rows(
    timings: dict[Library, Timing], kind: tuple[str, str, int], files: Sequence[bytes], threads: int
) -> list[DecoderRow]:
    reference = next(iter(timings.values()))
    rows = []
    for library, timing in timings.items():
        pixels, expected = library.decode(files[0]), _pillow(library.scale)(files[0])
        levels = difference(pixels, expected).levels if pixels.shape == expected.shape else None
        rows.append(
            DecoderRow(
                *(*kind, len(files), threads, library.name, library.scale),
                median_ms=timing.median_ms,
                p90_ms=timing.percentile_ms(90),
                cpu_ms=timing.cpu_ms,
                times_faster=timing.times_faster_than(reference),
                max_levels=levels,
                times_ms=tuple(round(one, 3) for one in timing.times_ms),
            )
        )
    return rows


def _facts(rounds: int) -> dict[str, str]:
    optional = [f"{one} {found.version}" for one in _OPTIONAL for found in distributions(name=one)]
    inside = re.search(r"JPEG:.*ver ([\d.]+)", cv2.getBuildInformation())
    turbo = f"{inside[1] if inside else 'unknown'} in OpenCV, {features.version('libjpeg_turbo')} in Pillow"
    task = f"JPEG bytes in memory to RGB pixels; median of {rounds} rounds after {_WARM_UP} to warm up"
    return {**describe_machine(), "decoders": ", ".join(optional), "libjpeg-turbo": turbo, "task": task}


def _cells(row: DecoderRow) -> list[str]:
    numbers = [f"{row.median_ms:.1f}", f"{row.p90_ms:.1f}", f"{row.cpu_ms:.1f}", f"{row.times_faster:.2f}"]
    return [row.library, "1" if row.scale == 1 else f"1/{row.scale}", *numbers, str(row.max_levels)]


def _blocks(rows: Sequence[DecoderRow]) -> list[Block]:
    kinds = groupby(rows, lambda row: (row.size, row.subsampling, row.quality, row.files, row.threads))
    title = "{}, {}, quality {}; files: {}, threads: {}"
    return [Block(title.format(*kind), _COLUMNS, [_cells(row) for row in block]) for kind, block in kinds]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, help=f"timed rounds, {MIN_ROUNDS} or more")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["FHD", "4K", "12MP"])
    parser.add_argument("--qualities", nargs="+", type=int, default=[75, 95])
    parser.add_argument("--quick", action="store_true", help="FHD at quality 95 only, fewer rounds")
    parser.add_argument("--json", action="store_true", help="print JSON, with every single time")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.sizes, options.qualities = 5, ["FHD"], [95]
    elif options.rounds < MIN_ROUNDS:
        parser.error(f"--rounds must be {MIN_ROUNDS} or more, without --quick")
    return options


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "The given buffer is not writable")  # torchvision only reads it
    libraries, missing = find_libraries(encode(np.zeros((64, 64, 3), np.uint8)))
    full_size = [one for one in libraries if one.scale == 1]
    rows: list[DecoderRow] = []
    for size in options.sizes:
        images = make_images(*SIZES[size], range(4))
        for subsampling, quality in product(("4:2:0", "4:4:4"), options.qualities):
            print(f"{size}, {subsampling}, quality {quality} ...", file=sys.stderr)
            kind = (size, subsampling, quality)
            files = [encode(one, subsampling=subsampling, quality=quality) for one in images]
            for used, some, threads in ((libraries, files[:1], 1), (full_size, files, usable_cores())):
                timings = time_libraries(used, some, rounds=options.rounds, threads=threads)
                rows += _rows(timings, kind, some, threads)
    facts = _facts(options.rounds)
    if options.json:
        print(as_json(facts, [asdict(row) for row in rows], missing))
    else:
        print_report(Console(), facts, _blocks(rows), missing, as_markdown=options.markdown)


if __name__ == "__main__":
    main()
