"""Run the demonstration: depth maps, 3D points and an overview of the bundled images, or of a user's images."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import export
from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.export.naming import result_names
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import NetworkOptions, StreamOptions
from depth_anything_3.inputs.discover import FoundImage
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs.manifest import Manifest, SourceFile
from depth_anything_3.jobs.report import OnProgress, RunReport, no_progress
from depth_anything_3.jobs.settings import network_settings
from depth_anything_3.prediction import Prediction
from depth_anything_3.utils.io.input_processor import InputProcessor

__all__ = [
    "ASSUMED_FOV_DEG",
    "DemoImage",
    "DemoReport",
    "DemoResult",
    "abs_rel",
    "demo_images",
    "run_demo",
]

ASSUMED_FOV_DEG = 60.0
"""Field of view along the longer side that is assumed when the focal length is unknown."""

_FOLDER = Path(__file__).parent / "demo_images"  # written by tools/demo_model/draw_demo_images.py
_NAMES = ("street", "table", "hall")
_FORMATS = "ply-glb"
_OVERVIEW = "overview.jpg"
_PANEL_PX, _GAP_PX, _LABEL_HEIGHT_PX, _FONT_SIZE = 644, 6, 26, 16

Pixels = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DemoImage:
    """A bundled image of a rendered scene.

    Attributes:
        path: a 4K JPEG whose EXIF block holds the focal length.
        depth_m: (270, 480) float32 true depth along the optical axis in metres, inf in the sky.
    """

    path: Path
    depth_m: Depth


@dataclass(frozen=True)
class DemoResult:
    """Timings and accuracy of one image.

    Attributes:
        name: file name of its results, without suffix.
        size: (height, width) of the image in pixels.
        preprocess_ms: time to decode, resize and normalise; several images are prepared in parallel.
        network_ms: time of the forward pass.
        focal_origin: source of the focal length that its 3D points use.
        abs_rel: mean relative error of depth; None if the true depth is unknown.
    """

    name: str
    size: tuple[int, int]
    preprocess_ms: float
    network_ms: float
    focal_origin: str
    abs_rel: float | None


@dataclass
class DemoReport(RunReport):
    """Report of a demonstration.

    Attributes:
        process_res: as for `DepthAnything3.stream`.
        results: of each image that was computed, in order.
        overview: path of the image that shows all results.
    """

    process_res: int = 0
    results: list[DemoResult] = field(default_factory=list)
    overview: str = ""


def demo_images() -> list[DemoImage]:
    """Find the bundled images, and read their true depth."""
    return [DemoImage(_FOLDER / f"{name}.jpg", _read_depth(_FOLDER / "depth_png" / f"{name}.png")) for name in _NAMES]


def _read_depth(path: Path) -> Depth:
    """Read a file of format `depth_png`; unknown depth becomes inf."""
    with Image.open(path) as file:
        depth = np.asarray(file).astype(np.float32) * np.float32(file.info["depth_scale"])
    return np.where(depth > 0, depth, np.inf).astype(np.float32)


def run_demo(
    engine: Engine,
    paths: Sequence[Path],
    export_dir: Path,
    preprocess: PreprocessOptions,
    true_depth_m: Mapping[Path, Depth] | None = None,
    *,
    on_progress: OnProgress = no_progress,
) -> DemoReport:
    """Write `depth/NAME.jpg`, `ply/NAME.ply` and `glb/NAME.glb` for each image, and `overview.jpg` for all.

    Args:
        engine: the network.
        paths: of independent images; an image that cannot be read is reported and skipped.
        export_dir: output folder.
        preprocess: preprocessing options.
        true_depth_m: true depth by path, where it is known; as `DemoImage.depth_m`.
        on_progress: called after each image.

    Raises:
        ExportError: a file cannot be written.
    """
    report = DemoReport(
        export_dir=str(export_dir),
        device=str(engine.device),
        network=engine.card.name,
        process_res=engine.resolved(preprocess).bounded_px,
    )
    truths = {str(path): depth for path, depth in (true_depth_m or {}).items()}
    manifest = Manifest(export_dir)
    names = dict(zip(map(str, paths), result_names([FoundImage.alone(one) for one in paths]), strict=True))
    settings = network_settings(engine, preprocess, NetworkOptions())
    rows = []
    engine.input_processor.warm_up()
    began = time.perf_counter()

    def fail(failure: ImageFailure) -> None:
        report.add_failure(failure.label, failure.error)

    predictions = engine.stream(paths, StreamOptions(preprocess=preprocess), fail)
    for prediction in predictions:
        export_began, source = time.perf_counter(), prediction.sources[0]
        name, truth = names[source], truths.get(source)
        prediction, origin = _with_camera(prediction)
        report.results.append(_result(prediction, name, origin, truth))
        outputs = export(prediction, export_dir, _FORMATS, name)
        rows.append(_row(prediction, name, truth))
        outputs.append(write_jpeg(export_dir / "depth" / f"{name}.jpg", rows[-1]))
        manifest.add("image", name, settings, [SourceFile.of(source)], [*outputs, export_dir / _OVERVIEW])
        report.add_prediction(prediction, time.perf_counter() - export_began, outputs)
        on_progress(len(report.failures))
    if rows:
        report.overview = str(write_jpeg(export_dir / _OVERVIEW, _stacked(rows)))
    report.wall_seconds = time.perf_counter() - began
    return report


def abs_rel(depth: Depth, truth: Depth) -> float:
    """Compute the mean of |depth - truth| / truth where the truth is finite, after scaling by the median ratio.

    Args:
        depth: (h, w) in any unit, above 0.
        truth: (H, W), inf in the sky.

    Returns:
        A fraction; 0 is perfect, nan if all is sky.
    """
    ground = np.isfinite(truth)
    if not ground.any():
        return math.nan
    # Interpolate inverse depth: unlike depth, it is linear across the image of a plane.
    inverse = cv2.resize(1.0 / depth, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    ratio = 1.0 / (inverse * truth)[ground]
    return float(np.abs(ratio / np.median(ratio) - 1.0).mean())


def _result(prediction: Prediction, name: str, focal_origin: str, truth: Depth | None) -> DemoResult:
    seconds = dict(prediction.seconds)
    network = seconds.pop("network")
    return DemoResult(
        name=name,
        size=prediction.source_hw[0],
        preprocess_ms=1e3 * sum(seconds.values()),
        network_ms=1e3 * network,
        focal_origin=focal_origin,
        abs_rel=None if truth is None else abs_rel(prediction.depth[0], truth),
    )


def _with_camera(prediction: Prediction) -> tuple[Prediction, str]:
    """Add a camera at the origin if the prediction has none; return it with the source of the focal length."""
    if prediction.intrinsics is not None and prediction.extrinsics is not None:
        return prediction, "the model"
    try:
        focal = prediction.focal_length()
        origin = focal.origins[0]
    except InvalidInputError:
        longer = max(prediction.source_hw[0])
        focal = prediction.focal_length(longer / 2 / math.tan(math.radians(ASSUMED_FOV_DEG) / 2))
        origin = "assumed"
    camera = prediction.centred_intrinsics(focal)
    return replace(prediction, intrinsics=camera, extrinsics=np.eye(4, dtype=np.float32)[None, :3]), origin


def _row(prediction: Prediction, name: str, truth: Depth | None) -> Pixels:
    """Draw the image, its depth and, if known, its true depth side by side, below their labels."""
    with InputProcessor() as processor:
        resized, _, _ = processor(
            [prediction.sources[0]], process_res=_PANEL_PX, perform_normalization=False, fidelity="fast"
        )
    assert resized is not None
    image = resized[0].permute(1, 2, 0).numpy()
    inverse = 1.0 / prediction.depth[0]
    if prediction.sky is not None:
        inverse[prediction.sky[0]] = 0.0
    panels = {name: image, f"depth by {prediction.model_name}": _coloured(inverse, image.shape[:2])}
    if truth is not None:
        panels["true depth"] = _coloured(1.0 / truth, image.shape[:2])
    return np.hstack([_labelled(panel, label) for label, panel in panels.items()])


def _coloured(inverse: Depth, size: tuple[int, ...]) -> Pixels:
    """Resize inverse depth (0 in the sky) to (height, width) and colour it."""
    resized = cv2.resize(inverse, size[::-1], interpolation=cv2.INTER_LINEAR)
    return colorize_depth(np.divide(1.0, resized, out=np.zeros_like(resized), where=resized > 0))


def _labelled(panel: Pixels, label: str) -> Pixels:
    strip = Image.new("RGB", (panel.shape[1], _LABEL_HEIGHT_PX), "white")
    ImageDraw.Draw(strip).text((4, 3), label, "black", ImageFont.load_default(_FONT_SIZE))
    framed = np.vstack([np.asarray(strip), panel])
    return np.pad(framed, ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=255)


def _stacked(rows: Sequence[Pixels]) -> Pixels:
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.vstack(padded)
