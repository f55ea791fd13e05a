"""Time of whole-file JPEG decoding on the CPU, by each library that can be installed as a wheel.

    uv run python benchmarks/decoders.py [--quick] [--json] [--markdown] [--sizes FHD 4K 12MP] [--qualities 75 95]

What is timed: from the bytes of a file in memory to its RGB pixels, as uint8 in memory that the library allocates
afresh, so that everyone pays for new pages alike; once also into memory that is kept, as this package does it. Once
one file on one thread, once four files on all cores that may be used, one call a file on a thread pool; libraries may
not start threads of their own. Those that offer it also decode at 1/2, 1/4 and 1/8 of the size, on one thread: what
is left at 1/8 is nearly all entropy decoding, the floor for every decoder built on libjpeg-turbo. The ways take
turns, in another order each round. "Times faster" is OpenCV's time at full size over the way's, median of the rounds;
"CPU ms" is the processor time of all threads, which a busy machine disturbs less; "max levels" is the largest
difference from Pillow's pixels at the same scale.

The full table needs, beside this package's development dependencies (for libturbojpeg 3 without the "<2"):

    uv pip install kornia-rs "PyTurboJPEG<2" && apt-get install libturbojpeg0
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import distributions
from itertools import groupby, product

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, features
from rich import box
from rich.console import Console
from rich.table import Table

from gpu_preprocessing_benchmark import SIZES, make_pictures
from harness.machine import describe_machine
from harness.timing import first_line

__all__ = ["Row", "Way", "make_ways", "time_ways"]

Pixels = npt.NDArray[np.uint8]
Decode = Callable[[bytes], Pixels]

LEAST_ROUNDS = 15
_WARM_UP = 2
_SCALES = (1, 2, 4, 8)
_RAISED = (ImportError, RuntimeError, OSError, ValueError, TypeError, AttributeError, cv2.error)  # by these libraries
_OPTIONAL = ("PyTurboJPEG", "kornia-rs")
_COLUMNS = ("way", "scale", "median ms", "p90 ms", "CPU ms", "times faster", "max levels")


@dataclass
class Way:
    """A library that decodes files at 1/scale of their size to (H, W, 3) RGB, and its milliseconds in each round."""

    name: str
    scale: int
    decode: Decode
    times: list[float] = field(default_factory=list)
    cpu_times: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One way with one kind of files, so many at once on so many threads; milliseconds for all of them.

    Times faster is over OpenCV at full size; levels are against Pillow at the same scale, None where the sizes differ.
    """

    size: str
    subsampling: str
    quality: int
    files: int
    threads: int
    way: str
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


def _simplejpeg_kept(_scale: int) -> Decode:
    import simplejpeg

    own = threading.local()

    def decode(data: bytes) -> Pixels:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if getattr(own, "memory", np.empty(0)).size != 3 * height * width:
            own.memory = np.empty(3 * height * width, np.uint8)
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=own.memory)
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
    "simplejpeg, kept memory": (_simplejpeg_kept, (1,)),
    "PyTurboJPEG": (_turbojpeg, _SCALES),
    "torchvision": (_torchvision, (1,)),
    "torchcodec": (_torchcodec, (1,)),
    "kornia-rs (turbo)": (_kornia("decode_image_jpegturbo", "rgb"), (1,)),
    "kornia-rs (Rust)": (_kornia("decode_image_jpeg"), (1,)),
    "nvImageCodec": (_nvimgcodec, (1,)),
}


def make_ways(probe: bytes) -> tuple[list[Way], dict[str, str]]:
    """Those that decode a file here, and why the others do not."""
    ways: list[Way] = []
    missing: dict[str, str] = {}
    for name, (maker, scales) in _DECODERS.items():
        try:
            found = [Way(name, scale, maker(scale)) for scale in scales]
            if any(way.decode(probe).ndim != 3 for way in found):
                raise ValueError("no picture came out")
            ways += found
        except _RAISED as error:
            missing[name] = first_line(error)
    return sorted(ways, key=lambda way: way.scale), missing


def time_ways(ways: Sequence[Way], files: Sequence[bytes], *, rounds: int, threads: int) -> None:
    """Leave the times of all rounds in the ways; their order is another each round, but the same in every run."""
    for way in ways:
        way.times, way.cpu_times = [], []
    with ThreadPoolExecutor(threads) as pool:
        spread = map if threads == 1 else pool.map
        for turn in range(-_WARM_UP, rounds):
            for way in random.Random(turn).sample(list(ways), len(ways)):
                began, cpu_began = time.perf_counter(), time.process_time()
                results = list(spread(way.decode, files))
                took, cpu_took = time.perf_counter() - began, time.process_time() - cpu_began
                del results
                if turn >= 0:
                    way.times.append(1e3 * took)
                    way.cpu_times.append(1e3 * cpu_took)


def _row(way: Way, reference: Way, kind: tuple[str, str, int], files: Sequence[bytes], threads: int) -> Row:
    ratios = [a / b for a, b in zip(reference.times, way.times, strict=True)]
    pixels, expected = way.decode(files[0]), _pillow(way.scale)(files[0])
    levels = int(cv2.absdiff(pixels, expected).max()) if pixels.shape == expected.shape else None
    middle, late = statistics.median(way.times), float(np.percentile(way.times, 90))
    return Row(
        *kind, len(files), threads, way.name, way.scale, middle, late, statistics.median(way.cpu_times),
        statistics.median(ratios), levels, tuple(round(one, 3) for one in way.times),
    )  # fmt: skip


def _encode(picture: Pixels, subsampling: str, quality: int) -> bytes:
    Image.fromarray(picture).save(buffer := io.BytesIO(), "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _facts(rounds: int) -> dict[str, str]:
    optional = [f"{one} {found.version}" for one in _OPTIONAL for found in distributions(name=one)]
    inside = re.search(r"JPEG:.*ver ([\d.]+)", cv2.getBuildInformation())
    turbo = f"{inside[1] if inside else 'unknown'} in OpenCV, {features.version('libjpeg_turbo')} in Pillow"
    task = f"JPEG bytes in memory to RGB pixels; median of {rounds} rounds after {_WARM_UP} to warm up"
    return {**describe_machine(), "decoders": ", ".join(optional), "libjpeg-turbo": turbo, "task": task}


def _cells(row: Row) -> list[str]:
    numbers = [f"{row.median_ms:.1f}", f"{row.p90_ms:.1f}", f"{row.cpu_ms:.1f}", f"{row.times_faster:.2f}"]
    return [row.way, "1" if row.scale == 1 else f"1/{row.scale}", *numbers, str(row.max_levels)]


def _show(facts: dict[str, str], rows: Sequence[Row], missing: dict[str, str], *, as_markdown: bool) -> None:
    console, point = Console(width=100), "- " if as_markdown else ""
    print(*(f"{point}{key}: {value}" for key, value in facts.items()), sep="\n")
    for kind, block in groupby(rows, lambda row: (row.size, row.subsampling, row.quality, row.files, row.threads)):
        console.print("\n{}, {}, quality {}; files: {}, threads: {}\n".format(*kind), highlight=False)
        table = Table(*_COLUMNS, box=box.MARKDOWN if as_markdown else box.HEAVY_HEAD)
        for row in block:
            table.add_row(*_cells(row))
        console.print(table)
    print(*(f"{point}missing here: {name}: {why}" for name, why in missing.items()), sep="\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help=f"timed rounds, {LEAST_ROUNDS} or more")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["FHD", "4K", "12MP"])
    parser.add_argument("--qualities", nargs="+", type=int, default=[75, 95])
    parser.add_argument("--quick", action="store_true", help="FHD at quality 95 only, fewer rounds")
    parser.add_argument("--json", action="store_true", help="print JSON, with every single time")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.sizes, options.qualities = 5, ["FHD"], [95]
    elif options.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds must be {LEAST_ROUNDS} or more, without --quick")
    return options


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "The given buffer is not writable")  # torchvision only reads it
    ways, missing = make_ways(_encode(np.zeros((64, 64, 3), np.uint8), "4:2:0", 95))
    whole, rows = [way for way in ways if way.scale == 1], list[Row]()
    for size in options.sizes:
        pictures = make_pictures(size, 4)
        for subsampling, quality in product(("4:2:0", "4:4:4"), options.qualities):
            print(f"{size}, {subsampling}, quality {quality} ...", file=sys.stderr)
            kind, files = (size, subsampling, quality), [_encode(one, subsampling, quality) for one in pictures]
            for used, some, threads in ((ways, files[:1], 1), (whole, files, _cores())):
                time_ways(used, some, rounds=options.rounds, threads=threads)
                rows += [_row(way, ways[0], kind, some, threads) for way in used]
    facts = _facts(options.rounds)
    if options.json:
        print(json.dumps({"machine": facts, "missing": missing, "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        _show(facts, rows, missing, as_markdown=options.markdown)


if __name__ == "__main__":
    main()
