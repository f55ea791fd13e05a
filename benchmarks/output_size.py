"""Measure depth at the size of a 4K image: error against the truth, at edges too, and the time that enlarging takes.

    uv run python benchmarks/output_size.py FOLDER                    # about two minutes on two cores
    uv run python benchmarks/output_size.py FOLDER --picture edges.jpg

Renders the true depth of the three scenes of `da3 demo` at 3840x2160 and keeps it in FOLDER. Their depth is computed by
the demonstration model and enlarged: depth linearly, inverse depth linearly (`upsampling="linear"`), and with edges
that follow the image (`upsampling="guided"`). Each result is multiplied by the median of truth / depth outside the sky.

"AbsRel" is the mean of |depth - truth| / truth outside the sky; "at edges" the same within 4 and 16 pixels of an edge,
where the true depths of neighbours differ by 15 % or more. "Width" is how many pixels of a row a step of inverse depth
needs to rise from 10 to 90 % of its height, within 48 pixels of a true edge; "shift" how far the middle of the step is
from the true edge; both are medians. Times are processor
time, medians of nine turns; enlarging runs on one core here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from rich import box
from rich.console import Console
from rich.table import Table

from depth_anything_3.api import DepthAnything3
from depth_anything_3.export.colormap import colorize_depth, inverse_depth_range
from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.choices import Upsampling
from depth_anything_3.jobs.demo import demo_images
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write
from harness.machine import describe_machine
from harness.report import print_facts
from harness.timing import take_turns, timed

TOOLS = Path(__file__).parents[1] / "tools" / "demo_model"
METHODS = ("depth, linear", "linear", "guided")
BANDS_PX = (4, 16)
CROPS = {"street": (1080, 1560), "table": (880, 1500)}
"""Corner (top, left) of what the picture shows of a scene."""

_MIN_STEP = 1.15  # ratio of neighbouring depths at an edge
_REACH_PX = 48
_ROW_STRIDE = 4
_ROUNDS = 9
_FAR_PX, _SMOOTH_PX = 40, 60
_PANEL_HW = (270, 360)
_GAP_PX, _LABEL_PX = 4, 24

Map = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass
class Errors:
    """Errors of one method on one scene; width and shift in pixels."""

    scene: str
    process_res: int
    method: str
    abs_rel: float
    at_edges: tuple[float, ...]
    width: float
    shift: float
    roughness: float


def true_depths(folder: Path) -> dict[str, Map]:
    """Render the true depth of the demo's scenes in metres, inf in the sky, unless it is in the folder."""
    sys.path.insert(0, str(TOOLS))
    from draw_demo_images import SCENES, SIZE
    from scenes import make_atlas, render_large

    folder.mkdir(parents=True, exist_ok=True)
    atlas = None
    for name, seed in SCENES.items():
        file = folder / f"{name}.npy"
        if not file.exists():
            atlas = make_atlas() if atlas is None else atlas
            with atomic_write(file) as temporary:
                np.save(temporary, render_large(seed, SIZE, atlas).depth[0].numpy())
    return {name: np.asarray(np.load(folder / f"{name}.npy"), np.float32) for name in SCENES}


def enlarge(prediction: Prediction, method: str) -> Map:
    """Return depth at the size of the image."""
    if method != METHODS[0]:
        return np.asarray(prediction.at_input_size(upsampling=Upsampling(method)).depth[0], np.float32)
    size = prediction.source_hw[0][::-1]
    return np.asarray(cv2.resize(prediction.depth[0], size, interpolation=cv2.INTER_LINEAR), np.float32)


def scaled(depth: Map, truth: Map) -> Map:
    """Multiply depth by the median of truth / depth outside the sky."""
    return np.asarray(depth * np.median((truth / depth)[np.isfinite(truth)]), np.float32)


def edges(truth: Map, axis: int) -> npt.NDArray[np.bool_]:
    """Whether depth steps from each pixel to the next along an axis."""
    inverse = 1 / truth
    first, second = np.moveaxis(inverse, axis, 0)[:-1], np.moveaxis(inverse, axis, 0)[1:]
    return np.moveaxis(np.maximum(first, second) > _MIN_STEP * np.minimum(first, second), 0, axis)


def errors_of(name: str, process_res: int, method: str, depth: Map, truth: Map) -> Errors:
    """Compare scaled depth with the truth."""
    ground = np.isfinite(truth)
    error = np.abs(depth / np.where(ground, truth, 1) - 1)
    near = np.zeros(truth.shape, np.uint8)
    rows, columns = edges(truth, 0), edges(truth, 1)
    for part, step in ((near[:-1], rows), (near[1:], rows), (near[:, :-1], columns), (near[:, 1:], columns)):
        part |= step
    distance = cv2.distanceTransform(1 - near, cv2.DIST_L2, 5)
    at_edges = tuple(float(error[(distance <= band) & ground].mean()) for band in BANDS_PX)
    roughness = _roughness(depth, truth, ground & (distance > _FAR_PX))
    return Errors(
        name, process_res, method, float(error[ground].mean()), at_edges, *_profile(depth, columns), roughness
    )


def _roughness(depth: Map, truth: Map, where: npt.NDArray[np.bool_]) -> float:
    logarithm = np.log(np.where(where, depth / truth, 1)).astype(np.float32)
    window = (_SMOOTH_PX + 1,) * 2
    smooth = cv2.boxFilter(logarithm, -1, window) / np.maximum(
        cv2.boxFilter(where.astype(np.float32), -1, window), 1e-6
    )
    return float(np.sqrt(np.square(logarithm - smooth)[where].mean()))


def _profile(depth: Map, columns: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the median width and shift of steps along rows, at edges without another one nearby."""
    inverse = 1 / depth
    widths, shifts = [], []
    for row in range(0, len(depth), _ROW_STRIDE):
        at = np.flatnonzero(columns[row])
        gaps = np.diff(at, prepend=-_REACH_PX, append=depth.shape[1] + _REACH_PX)
        for edge in at[(gaps[:-1] > _REACH_PX) & (gaps[1:] > _REACH_PX)]:
            if not _REACH_PX <= edge < depth.shape[1] - _REACH_PX - 1:
                continue
            window = inverse[row, edge - _REACH_PX + 1 : edge + _REACH_PX + 1]
            if max(window[0], window[-1]) < _MIN_STEP * min(window[0], window[-1]):
                continue  # the network saw no step
            level = (window - window[0]) / (window[-1] - window[0])
            begin, middle, end = (int(np.argmax(level >= share)) for share in (0.1, 0.5, 0.9))
            widths.append(max(end - begin, 1))
            shifts.append(abs(middle - _REACH_PX))
    return statistics.median(widths), statistics.median(shifts)


def print_rows(console: Console, rows: Sequence[Errors]) -> None:
    """Print each row, and the means over the scenes."""
    table = Table(
        "process_res",
        "scene",
        "enlarged",
        "AbsRel",
        "at edges, 4 px",
        "16 px",
        "width",
        "shift",
        "roughness",
        box=box.MARKDOWN,
    )
    for row in rows:
        errors = (f"{one:.4f}" for one in (row.abs_rel, *row.at_edges))
        table.add_row(
            str(row.process_res),
            row.scene,
            row.method,
            *errors,
            f"{row.width:.0f}",
            f"{row.shift:.0f}",
            f"{row.roughness:.4f}",
        )
    console.print(table)


def with_means(rows: Sequence[Errors]) -> list[Errors]:
    """Add the mean over the scenes for each resolution and method."""
    result = list(rows)
    for resolution in dict.fromkeys(row.process_res for row in rows):
        for method in METHODS:
            own = [row for row in rows if (row.process_res, row.method) == (resolution, method)]
            bands = np.mean([row.at_edges for row in own], axis=0)
            values = [
                float(np.mean([getattr(row, name) for row in own]))
                for name in ("abs_rel", "width", "shift", "roughness")
            ]
            result.append(Errors("mean", resolution, method, values[0], tuple(bands.tolist()), *values[1:]))
    return result


@torch.inference_mode()
def time_stages(model: DepthAnything3, path: Path, process_res: int) -> dict[str, float]:
    """Measure the processor time of the stages of one image, in milliseconds."""
    cv2.setNumThreads(1)
    (prediction,) = model.depth([path], process_res=process_res)
    pixels = ImagePreparer().upright(0, path)
    x = torch.from_numpy(prediction.processed_images).permute(0, 3, 1, 2)[None].float() / 255
    stages: dict[str, Callable[[], object]] = {
        "network": lambda: model.model(x),
        "decode": lambda: ImagePreparer().upright(0, path),
        "linear": lambda: prediction.at_input_size([pixels], upsampling="linear"),
        "guided": lambda: prediction.at_input_size([pixels]),
    }
    timings = take_turns({name: timed(stage) for name, stage in stages.items()}, rounds=_ROUNDS)
    return {name: timing.cpu_ms for name, timing in timings.items()}


def draw(results: Mapping[str, Mapping[str, Map]], file: Path) -> None:
    """Draw a part of each scene: the image, its depth enlarged by two methods, and the truth."""
    images = {one.path.stem: one.path for one in demo_images()}
    rows = []
    for name, (top, left) in CROPS.items():
        part = slice(top, top + 2 * _PANEL_HW[0]), slice(left, left + 2 * _PANEL_HW[1])
        spread = inverse_depth_range(results[name]["truth"][part])
        panels = {"image": ImagePreparer().upright(0, images[name])[part]}
        panels |= {label: colorize_depth(results[name][label][part], spread) for label in (*METHODS[1:], "truth")}
        rows.append(np.hstack([_panel(label, pixels) for label, pixels in panels.items()]))
    write_jpeg(file, np.vstack(rows))


def _panel(label: str, pixels: Pixels) -> Pixels:
    small = cv2.resize(pixels, _PANEL_HW[::-1], interpolation=cv2.INTER_AREA)
    strip = Image.new("RGB", (small.shape[1], _LABEL_PX), "white")
    ImageDraw.Draw(strip).text((4, 3), label, "black", ImageFont.load_default(15))
    framed = np.vstack([np.asarray(strip), small])
    return np.pad(framed, ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=255)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--process-res", type=int, nargs="+", default=(224, 504))
    parser.add_argument("--picture", type=Path, help="draw the edges, at the first process_res")
    options = parser.parse_args()
    console, truths = Console(width=120, highlight=False), true_depths(options.folder)
    model = DepthAnything3.from_pretrained("da3-nano")
    rows: list[Errors] = []
    drawn: dict[str, dict[str, Map]] = {}
    for process_res in options.process_res:
        for image in demo_images():
            name = image.path.stem
            (prediction,) = model.depth([image.path], process_res=process_res)
            depths = {method: scaled(enlarge(prediction, method), truths[name]) for method in METHODS}
            rows += [errors_of(name, process_res, method, depth, truths[name]) for method, depth in depths.items()]
            drawn.setdefault(name, {**depths, "truth": truths[name]})
    print_facts(console, describe_machine())
    print_rows(console, with_means(rows))
    for process_res in options.process_res:
        stages = time_stages(model, demo_images()[0].path, process_res)
        console.print(f"process_res {process_res}: " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in stages.items()))
    if options.picture is not None:
        draw(drawn, options.picture)


if __name__ == "__main__":
    main()
