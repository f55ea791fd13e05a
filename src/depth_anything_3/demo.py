"""The whole way without a photo at hand: draws pictures, saves them as JPEG, and takes them to depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from depth_anything_3.api import DepthAnything3, choose_device
from depth_anything_3.batch_run import RunReport, run_images
from depth_anything_3.errors import CheckpointNotFoundError
from depth_anything_3.files import whole_file
from depth_anything_3.synthetic import photo_jpeg

__all__ = ["DEMO_MODELS", "load_demo_model", "make_pictures", "run_demo"]

DEMO_MODELS = ("depth-anything/DA3-BASE", "depth-anything/DA3-SMALL")
"""Taken if an earlier download left one in the hub's cache."""

_SIZES = ((3840, 2160), (1920, 1080), (1512, 2016))
_SEED = 3


def load_demo_model(device: str) -> tuple[DepthAnything3, str | None]:
    """A model from the hub's cache and its name; else `da3-small` with seeded random weights and None."""
    for name in DEMO_MODELS:
        try:
            return DepthAnything3.from_pretrained(name, device, local_files_only=True), name
        except CheckpointNotFoundError:
            continue
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return DepthAnything3("da3-small").to(choose_device(device)), None


def make_pictures(folder: Path) -> list[Path]:
    """Draw the demo's pictures and save them as JPEGs of quality 95."""
    paths = []
    for index, (width, height) in enumerate(_SIZES):
        path = folder / f"picture_{index}_{width}x{height}.jpg"
        with whole_file(path) as aside:
            aside.write_bytes(photo_jpeg(width, height, _SEED + index))
        paths.append(path)
    return paths


def run_demo(
    model: DepthAnything3,
    paths: list[Path],
    folder: Path,
    *,
    on_progress: Callable[[], None] = lambda: None,
    **options: Any,  # Any: the options of DepthAnything3.stream
) -> RunReport:
    """Depth of the pictures, written beside them."""
    return run_images(model, paths, folder, "depth_vis-depth_png", on_progress=on_progress, **options)
