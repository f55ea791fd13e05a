"""Describe depth maps in a line of the manifest, and draw their thumbnails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from depth_anything_3.export import ExportFormat, ExportOptions
from depth_anything_3.export.colored_views import colored_views
from depth_anything_3.export.format_options import ColorOptions
from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.export.labels import depth_unit, view_names
from depth_anything_3.prediction import Prediction

__all__ = ["THUMBNAILS", "DepthFacts", "depth_facts", "thumbnail_colors", "write_thumbnails"]

THUMBNAILS = "thumbnails"
"""Folder of the thumbnails in an export folder."""

_SIDE = 320  # longest side of the image in a thumbnail, in pixels


@dataclass(frozen=True, slots=True)
class DepthFacts:
    """What is known of one depth map without opening its files.

    Attributes:
        size: (height, width) of the upright source in pixels; None if unknown.
        map_size: (height, width) of the depth map.
        depth: smallest and largest valid depth; None if no depth is valid.
        unit: "metre", "canonical" or "relative".
        thumbnail: file with image and depth side by side, relative to the export folder; empty if there is none.
    """

    size: tuple[int, int] | None
    map_size: tuple[int, int]
    depth: tuple[float, float] | None
    unit: str
    thumbnail: str = ""

    @classmethod
    def parse(cls, values: dict[str, Any]) -> DepthFacts:  # Any: plain JSON values
        """Read the facts from a line of the manifest.

        Raises:
            KeyError, TypeError, ValueError: they are damaged.
        """
        pairs = {key: values[key] and tuple(values[key]) for key in ("size", "map_size", "depth")}
        if any(pair is not None and len(pair) != 2 for pair in pairs.values()):
            raise ValueError("facts of a depth map")
        return cls(**pairs, unit=str(values["unit"]), thumbnail=str(values["thumbnail"]))


def depth_facts(prediction: Prediction) -> tuple[DepthFacts, ...]:
    """Describe each depth map of a prediction."""
    unit = depth_unit(prediction)
    facts = []
    for depth, size in zip_longest(prediction.depth, prediction.source_hw):
        valid = depth[np.isfinite(depth) & (depth > 0)]
        limits = (float(valid.min()), float(valid.max())) if valid.size else None
        facts.append(DepthFacts(tuple(size) if size else None, depth.shape, limits, unit))
    return tuple(facts)


def thumbnail_colors(formats: Iterable[ExportFormat], options: ExportOptions | None) -> ColorOptions:
    """Return the colours of the formats of a run, so that thumbnails look like them; the defaults if none has any."""
    found = (one for one in map((options or ExportOptions()).of, formats) if isinstance(one, ColorOptions))
    return next(found, ColorOptions())


def write_thumbnails(
    prediction: Prediction, facts: Sequence[DepthFacts], folder: Path, name: str | None, colors: ColorOptions
) -> tuple[DepthFacts, ...]:
    """Write a small JPEG per view, image left and depth right, and return the facts that name them.

    Args:
        prediction: with images; nothing is written without them.
        facts: of the prediction.
        folder: export folder.
        name: of an independent image; None: of views.
        colors: colours of the depth.

    Raises:
        ExportError: a file cannot be written.
    """
    if prediction.processed_images is None:
        return tuple(facts)
    named = []
    colored, names = colored_views(prediction, colors), view_names(prediction, name)
    for image, depth, one, view in zip(prediction.processed_images, colored, facts, names, strict=True):
        height, width = depth.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        halves = [cv2.resize(half, size, interpolation=cv2.INTER_AREA) for half in (image, depth)]
        file = f"{THUMBNAILS}/{view}.jpg"
        write_jpeg(folder / file, np.hstack(halves).astype(np.uint8))
        named.append(replace(one, thumbnail=file))
    return tuple(named)
