"""Encode a prediction in the format that the Accept header asks for."""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export.checks import check_formats
from depth_anything_3.export.colored_views import colored_views
from depth_anything_3.export.fields import AvailableFields
from depth_anything_3.export.format_options import Colormap, ColorOptions
from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.export.options import ExportOptions
from depth_anything_3.export.registry import find_format
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.metric import MetricConversion
from depth_anything_3.services.server.problems import Problem

__all__ = ["MEDIA_TYPES", "Answer", "ResultOptions", "choose_media_type", "encode"]

_WRITERS = {
    "image/png": "depth_png",
    "application/x-npz": "npz",
    "image/x-exr": "exr",
    "image/tiff": "tiff",
}
_JPEG, _RAW, _JSON = "image/jpeg", "application/octet-stream", "application/json"

MEDIA_TYPES = (*_WRITERS, _JPEG, _RAW, _JSON)
"""What a result can be, the default first."""


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """How the depth of a request becomes its result.

    Attributes:
        media_type: one of `MEDIA_TYPES`.
        output: size of the result.
        focal: focal length in pixels of the upright source image; None: from the network, or from Exif.
        colormap: colours of JPEGs.
    """

    media_type: str = MEDIA_TYPES[0]
    output: OutputOptions = OutputOptions()  # noqa: RUF009 (frozen)
    focal: float | None = None
    colormap: Colormap = Colormap.SPECTRAL


@dataclass(frozen=True, eq=False)
class Answer:
    """Content and headers of a result."""

    content: bytes
    headers: dict[str, str]


def choose_media_type(accept: str | None) -> str:
    """Choose the format by an Accept header; the server's order decides between equal ones.

    Raises:
        Problem: 406, it accepts none of them.
    """
    if not accept or not accept.strip():
        return MEDIA_TYPES[0]
    best, chosen = 0.0, None
    given = [_media_range(one) for one in accept.split(",")[:50]]
    for kind in MEDIA_TYPES:
        matching = [one for one in given if one[0] in (kind, f"{kind.partition('/')[0]}/*", "*/*")]
        # The most specific range counts (RFC 9110, 12.5.1).
        quality = max(matching, key=lambda one: (one[0] == kind, one[0] != "*/*"))[1] if matching else 0.0
        if quality > best:
            best, chosen = quality, kind
    if chosen is None:
        raise Problem(406, "not-acceptable", f"Accept: {accept[:200]}: give one of {', '.join(MEDIA_TYPES)}")
    return chosen


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (one.strip() for one in text.lower().split(";"))
    quality = 1.0
    for one in parameters:
        if one.startswith("q="):
            try:
                quality = min(max(float(one[2:]), 0.0), 1.0)
            except ValueError:
                quality = 0.0
    return name, quality if quality == quality else 0.0


def encode(
    prediction: Prediction, source: ImageSource, preprocess: PreprocessOptions, options: ResultOptions
) -> Answer:
    """Convert a prediction to the asked size and unit, and encode it.

    The files are those that `da3 image` writes, byte for byte, but for JPEG, which holds the pixels of its
    `depth_color`.

    Args:
        prediction: of one image.
        source: the image, for results at its size.
        preprocess: options of the request.
        options: what to make.

    Raises:
        DA3Error: see `Prediction.at_input_size` and `export`.
    """
    warnings = list(prediction.warnings)
    prediction = _with_unit(prediction, options.focal, warnings)
    prediction = options.output.apply(prediction, [source], preprocess)
    intrinsics = _intrinsics(prediction, options.focal)
    headers = _headers(prediction, intrinsics)
    if options.media_type == _JSON:
        content = _summary(prediction, intrinsics, warnings)
    elif options.media_type == _RAW:
        content = prediction.depth[0].astype("<f4").tobytes()
    elif options.media_type == _JPEG:
        content = _colored(prediction, options.colormap)
    else:
        content = _written(prediction, _WRITERS[options.media_type])
    if options.media_type == MEDIA_TYPES[0]:
        with Image.open(io.BytesIO(content)) as image:
            headers["X-Depth-Scale"] = str(image.info["depth_scale"])
    if warnings:
        headers["X-Warnings"] = quote("\n".join(warnings))
    headers["Content-Type"] = options.media_type
    return Answer(content, headers)


def _with_unit(prediction: Prediction, focal: float | None, warnings: list[str]) -> Prediction:
    """Convert canonical depth to metres if the focal length is known."""
    if prediction.depth_kind is not DepthKind.CANONICAL:
        return prediction
    try:
        metric, origins = MetricConversion(focal).apply(prediction)
    except InvalidInputError:
        warnings.append("the focal length is unknown, so depth is not in metres; pass focal (pixels of the image)")
        return prediction
    warnings += [f"the focal length is doubtful ({one})" for one in origins if "doubtful" in one]
    return metric


def _intrinsics(prediction: Prediction, focal: float | None) -> npt.NDArray[np.float32] | None:
    """Return (3, 3) intrinsics: by the given focal length, else predicted ones, else by Exif; None: unknown."""
    if prediction.intrinsics is not None and focal is None:
        return np.asarray(prediction.intrinsics[0], np.float32)
    try:
        return np.asarray(prediction.centred_intrinsics(prediction.focal_length(focal))[0], np.float32)
    except InvalidInputError:
        return None


def _unit(prediction: Prediction) -> str:
    if prediction.is_metric:
        return "metres"
    return "canonical" if prediction.depth_kind is DepthKind.CANONICAL else "relative"


def _range(depth: npt.NDArray[np.float32]) -> tuple[float, float] | None:
    valid = depth[np.isfinite(depth) & (depth > 0)]
    return (float(valid.min()), float(valid.max())) if valid.size else None


def _headers(prediction: Prediction, intrinsics: npt.NDArray[np.float32] | None) -> dict[str, str]:
    height, width = prediction.depth.shape[1:]
    source_height, source_width = prediction.source_hw[0]
    headers = {
        "X-Depth-Unit": _unit(prediction),
        "X-Depth-Shape": f"{height},{width}",
        "X-Image-Size": f"{source_width},{source_height}",
        "X-Model": prediction.model_name,
        "X-Network-Ms": f"{1e3 * prediction.seconds.get('network', 0.0):.2f}",
    }
    limits = _range(prediction.depth)
    if limits is not None:
        headers["X-Depth-Min"], headers["X-Depth-Max"] = map(repr, limits)
    if intrinsics is not None:
        headers["X-Depth-Intrinsics"] = ",".join(map(repr, _camera(intrinsics)))
    return headers


def _camera(matrix: npt.NDArray[np.float32]) -> list[float]:
    return [float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2))]


def _summary(prediction: Prediction, intrinsics: npt.NDArray[np.float32] | None, warnings: list[str]) -> bytes:
    height, width = prediction.depth.shape[1:]
    source_height, source_width = prediction.source_hw[0]
    limits = _range(prediction.depth)
    camera = None if intrinsics is None else dict(zip(("fx", "fy", "cx", "cy"), _camera(intrinsics), strict=True))
    summary = {
        "model": prediction.model_name,
        "unit": _unit(prediction),
        "height": height,
        "width": width,
        "image_height": source_height,
        "image_width": source_width,
        "min": None if limits is None else limits[0],
        "max": None if limits is None else limits[1],
        "intrinsics": camera,
        "warnings": warnings,
    }
    return json.dumps(summary, allow_nan=False).encode()


def _colored(prediction: Prediction, colormap: Colormap) -> bytes:
    (colors,) = colored_views(prediction, ColorOptions(colormap))
    with tempfile.TemporaryDirectory(prefix="da3-") as folder:
        return write_jpeg(Path(folder) / "depth.jpg", colors).read_bytes()


def _written(prediction: Prediction, name: str) -> bytes:
    """Write a prediction in a format and return the bytes of the file."""
    (one,) = check_formats([find_format(name)], AvailableFields.of(prediction), ExportOptions())
    try:
        with tempfile.TemporaryDirectory(prefix="da3-") as folder:
            (path,) = one.write(prediction, Path(folder), "depth", ExportOptions().of(one))
            return path.read_bytes()
    except OSError as error:
        raise ExportError(f"the result cannot be written ({error.strerror or error})") from error
