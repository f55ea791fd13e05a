"""The whole way without a photo at hand: draws scenes, saves them as a camera would, and takes them to depth.

Photos go the same way. Of each picture there is, beside one another, what was seen, its depth and (of scenes) the true
depth, and a point cloud.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageDraw, ImageFont

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import export
from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.export.image_file import write_image, write_jpeg
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs.naming import export_names
from depth_anything_3.jobs.report import RunReport
from depth_anything_3.prediction import Prediction
from depth_anything_3.scenes import make_atlas, render_large
from depth_anything_3.utils.io.input_processor import InputProcessor

__all__ = ["DEMO_MODEL", "SCENES", "DemoReport", "DrawnScene", "abs_rel", "demo_resolution", "draw_scenes", "run_demo"]

DEMO_MODEL = "da3-nano"

SCENES: Mapping[str, int] = {"street": 1_000_000_007, "table": 1_000_000_005, "hall": 1_000_000_022}
"""Seeds of the scenes, none of which the demonstration model was trained on; taken for the places they show."""

_SIZE = (2160, 3840)
_TRUTH_STEP = 4  # every how many pixels of a scene its true depth is kept
_DEMO_RESOLUTION, _DEFAULT_RESOLUTION = 224, 504
_ASSUMED_VIEW = 60.0  # degrees along the longer side
_FILM = 36.0  # millimetres: the width of the sensor that a drawn picture's Exif block tells
_FORMATS = "ply-glb"
_PANEL, _GAP, _LABEL_HEIGHT, _LABEL_SIZE = 644, 6, 26, 16  # pixels

Picture = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DrawnScene:
    """A scene on disk.

    Attributes:
        path: the JPEG; its Exif block tells the lens.
        depth: (h, w) float32 metres along the optical axis, inf in the sky; the truth at part of the picture's size.
        seconds: what drawing and saving it took.
    """

    path: Path
    depth: Depth
    seconds: float


@dataclass
class DemoReport(RunReport):
    """How a demonstration went.

    Attributes:
        process_res: as for `DepthAnything3.stream`.
        lenses: where the focal length behind each picture's points came from, by the picture's name.
        abs_rel: mean relative error of depth, of scenes whose truth is known, by the picture's name.
        overview: the picture with all results.
    """

    process_res: int = 0
    lenses: dict[str, str] = field(default_factory=dict)
    abs_rel: dict[str, float] = field(default_factory=dict)
    overview: str = ""


def demo_resolution(engine: Engine) -> int:
    """The `process_res` that suits a model: the demonstration's has seen no larger pictures in training."""
    return _DEMO_RESOLUTION if engine.card.is_demonstration else _DEFAULT_RESOLUTION


def draw_scenes(folder: Path, size: tuple[int, int] = _SIZE) -> Iterator[DrawnScene]:
    """Draw each of `SCENES` and save it as a JPEG of quality 95.

    Args:
        folder: where to.
        size: (height, width) in pixels.

    Raises:
        ExportError: a file cannot be written.
    """
    began = time.perf_counter()
    atlas = make_atlas()
    for name, seed in SCENES.items():
        seen = render_large(seed, size, atlas)
        path = folder / f"{name}.jpg"
        pixels = seen.image[0].permute(1, 2, 0).numpy()
        write_image(path, pixels, "JPEG", quality=95, exif=_lens_exif(float(seen.intrinsics[0, 0, 0]), size[1]))
        truth = seen.depth[0, _TRUTH_STEP // 2 :: _TRUTH_STEP, _TRUTH_STEP // 2 :: _TRUTH_STEP].numpy().copy()
        yield DrawnScene(path, truth, time.perf_counter() - began)
        began = time.perf_counter()


def run_demo(
    engine: Engine,
    paths: Sequence[Path],
    export_dir: Path,
    scenes: Sequence[DrawnScene],
    preprocess: PreprocessOptions,
    *,
    on_progress: Callable[[], None] = lambda: None,
) -> DemoReport:
    """Depth of scenes and photos: `depth/NAME.jpg`, `ply/NAME.ply`, `glb/NAME.glb` of each, `overview.jpg` of all.

    Args:
        engine: the network.
        paths: pictures, in order; one that cannot be read is listed in the report, and the others go on.
        export_dir: folder to write into.
        scenes: what is known of those pictures that are drawn scenes.
        preprocess: how images are prepared.
        on_progress: called when an image is done.

    Raises:
        ExportError: a file cannot be written.
    """
    report = DemoReport(export_dir=str(export_dir), device=str(engine.device), network=engine.card.name)
    report.process_res = preprocess.process_res
    truths = {str(scene.path): scene.depth for scene in scenes}
    names = dict(zip(map(str, paths), export_names(paths), strict=True))
    rows = []
    engine.input_processor.warm_up()
    began = time.perf_counter()
    for prediction in engine.stream(paths, StreamOptions(preprocess=preprocess), report.add_failure):
        writing, source = time.perf_counter(), prediction.sources[0]
        name, truth = names[source], truths.get(source)
        report.lenses[name] = _give_camera(prediction)
        if truth is not None:
            report.abs_rel[name] = abs_rel(prediction.depth[0], truth)
        export(prediction, export_dir, _FORMATS, name)
        rows.append(_row(prediction, name, truth))
        write_jpeg(export_dir / "depth" / f"{name}.jpg", rows[-1])
        report.add_prediction(prediction, time.perf_counter() - writing)
        on_progress()
    if rows:
        report.overview = str(write_jpeg(export_dir / "overview.jpg", _stacked(rows)))
    report.wall_seconds = time.perf_counter() - began
    if scenes:
        report.stage_seconds = {"render": sum(scene.seconds for scene in scenes), **report.stage_seconds}
    return report


def abs_rel(depth: Depth, truth: Depth) -> float:
    """Mean of |depth - truth| / truth where the truth is finite, the depth first multiplied by the median ratio.

    Args:
        depth: (h, w) of any unit above 0.
        truth: (H, W), inf in the sky.

    Returns:
        A share; 0 is perfect, nan where all is sky.
    """
    ground = np.isfinite(truth)
    if not ground.any():
        return math.nan
    # The reciprocal is what is linear in a picture.
    inverse_depth = cv2.resize(1.0 / depth, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    ratio = 1.0 / (inverse_depth * truth)[ground]
    return float(np.abs(ratio / np.median(ratio) - 1.0).mean())


def _lens_exif(focal: float, width: int) -> bytes:
    """An Exif block that tells a focal length in pixels, to more digits than its whole "35 mm equivalent" could."""
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = "depth_anything_3.scenes"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            ExifTags.Base.FocalLength: focal * _FILM / width,
            ExifTags.Base.FocalPlaneXResolution: width / _FILM,
            ExifTags.Base.FocalPlaneResolutionUnit: 4,  # millimetres
        }
    )
    return exif.tobytes()


def _give_camera(prediction: Prediction) -> str:
    """Give a prediction without a camera one in the origin, by its picture's lens; returns where that is known from."""
    if prediction.intrinsics is not None and prediction.extrinsics is not None:
        return "the model's"
    try:
        lens = prediction.focal_length()
        origin = lens.origins[0]
    except InvalidInputError:
        longer = max(prediction.source_hw[0])
        lens = prediction.focal_length(longer / 2 / math.tan(math.radians(_ASSUMED_VIEW) / 2))
        origin = f"assumed: {_ASSUMED_VIEW:g} degrees along the longer side"
    prediction.intrinsics = prediction.centred_intrinsics(lens)
    prediction.extrinsics = np.eye(4, dtype=np.float32)[None, :3]
    return origin


def _row(prediction: Prediction, name: str, truth: Depth | None) -> Picture:
    """A picture, its depth, and the true one if it is known, side by side below their names."""
    with InputProcessor() as processor:
        seen, _, _ = processor([prediction.sources[0]], process_res=_PANEL, perform_normalization=False)
    assert seen is not None
    picture = seen[0].permute(1, 2, 0).numpy()
    inverse_depth = 1.0 / prediction.depth[0]
    if prediction.sky is not None:
        inverse_depth[prediction.sky[0]] = 0.0
    panels = {name: picture, f"depth by {prediction.model_name}": _coloured(inverse_depth, picture.shape[:2])}
    if truth is not None:
        panels["true depth"] = _coloured(1.0 / truth, picture.shape[:2])
    return np.hstack([_labelled(panel, label) for label, panel in panels.items()])


def _coloured(inverse_depth: Depth, size: tuple[int, ...]) -> Picture:
    """Colours of a reciprocal depth, 0 where it is infinitely far, at another (height, width)."""
    resized = cv2.resize(inverse_depth, size[::-1], interpolation=cv2.INTER_LINEAR)
    return colorize_depth(np.divide(1.0, resized, out=np.zeros_like(resized), where=resized > 0))


def _labelled(panel: Picture, label: str) -> Picture:
    strip = Image.new("RGB", (panel.shape[1], _LABEL_HEIGHT), "white")
    ImageDraw.Draw(strip).text((4, 3), label, "black", ImageFont.load_default(_LABEL_SIZE))
    framed = np.vstack([np.asarray(strip), panel])
    return np.pad(framed, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _stacked(rows: Sequence[Picture]) -> Picture:
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.vstack(padded)
