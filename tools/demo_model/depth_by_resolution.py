"""Measure the depth error of the demonstration checkpoint by input size, and the change by fidelity.

    uv run python tools/demo_model/depth_by_resolution.py FOLDER [--model-dir da3-nano] [--images 12 24] [--json]

Draws unseen scenes (seeds from 3,000,000,000) as 4K and Full HD JPEGs of quality 95, and stores them in FOLDER. Then
computes their depth at several `process_res`, and at some of these with every fidelity.

"AbsRel" is the mean of |depth - truth| / truth over the pixels outside the sky, after multiplying the depth of each
image by the median of truth / depth, on a grid of 480x270; averaged over images. "Change" is
|depth / depth at fidelity exact - 1| at the same `process_res`, over the pixels that neither labels as sky: the median
and the 99th percentile of each image, each as the median over images, and the maximum. "Sky" is the share of pixels
that only one of the two labels as sky.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table

from depth_anything_3.api import DepthAnything3
from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.inputs.choices import Fidelity
from depth_anything_3.jobs.demo import abs_rel
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write
from scenes import make_atlas, render_large

__all__ = ["Row", "draw", "measure"]

Array = npt.NDArray[np.float32]

FIRST_SEED = 3_000_000_000
SIZES = {"4K": (2160, 3840), "FHD": (1080, 1920)}
_GRID = (270, 480)
_RESOLUTIONS = (168, 224, 280, 336, 420, 504)
_FIDELITIES = ("high", "fast")


@dataclass
class Row:
    """One size of images at one `process_res` and fidelity; changes are shares, None for `exact`."""

    size: str
    images: int
    process_res: int
    fidelity: str
    abs_rel: float
    change_median: float | None = None
    change_99: float | None = None
    change_largest: float | None = None
    sky_changed: float | None = None


def draw(folder: Path, counts: Sequence[int]) -> dict[str, list[Path]]:
    """Draw images of each size and their truth on the grid, unless they exist."""
    atlas, seed, paths = None, FIRST_SEED, {}
    for (name, size), count in zip(SIZES.items(), counts, strict=True):
        paths[name] = [folder / f"{name}_{seed + i}.jpg" for i in range(count)]
        for path in paths[name]:
            if not path.with_suffix(".npy").exists():
                atlas = make_atlas() if atlas is None else atlas
                seen = render_large(seed, size, atlas)
                write_jpeg(path, seen.image[0].permute(1, 2, 0).numpy())
                step = size[0] // _GRID[0]
                with atomic_write(path.with_suffix(".npy")) as temporary:
                    np.save(temporary, seen.depth[0, step // 2 :: step, step // 2 :: step].numpy())
            seed += 1
    return paths


def on_grid(prediction: Prediction) -> Array:
    """Sample depth at the points of the truth's grid."""
    inverse_depth = cv2.resize(1.0 / prediction.depth[0], _GRID[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(1.0 / inverse_depth, np.float32)


def measure(
    model: DepthAnything3, paths: dict[str, list[Path]], resolutions: Sequence[int], compared: Sequence[int]
) -> list[Row]:
    """Measure each size and resolution, and every fidelity where fidelities are compared."""
    rows = []
    for size, files in paths.items():
        truths = [np.load(path.with_suffix(".npy")) for path in files]
        for resolution in resolutions:
            exact = model.depth(files, process_res=resolution)
            for fidelity in ("exact", *_FIDELITIES) if resolution in compared else ("exact",):
                found = model.depth(files, process_res=resolution, fidelity=Fidelity(fidelity))
                scores = [abs_rel(on_grid(one), truth) for one, truth in zip(found, truths, strict=True)]
                row = Row(size, len(files), resolution, fidelity, float(np.mean(scores)))
                if fidelity != "exact":
                    _compare(row, found, exact)
                rows.append(row)
    return rows


def _compare(row: Row, found: Sequence[Prediction], exact: Sequence[Prediction]) -> None:
    changes, skies = [], []
    for ours, usual in zip(found, exact, strict=True):
        assert ours.sky is not None
        assert usual.sky is not None
        changes.append(np.abs(ours.depth / usual.depth - 1.0)[~(ours.sky | usual.sky)])
        skies.append((ours.sky != usual.sky).mean())
    row.change_median = float(np.median([np.median(one) for one in changes]))
    row.change_99 = float(np.median([np.percentile(one, 99) for one in changes]))
    row.change_largest = float(max(one.max() for one in changes))
    row.sky_changed = float(np.mean(skies))


def report(rows: Sequence[Row]) -> Table:
    """Format the rows as a table."""
    table = Table(
        "size", "images", "process_res", "fidelity", "AbsRel", "change", "99 %", "largest", "sky", box=box.MARKDOWN
    )
    for row in rows:
        changes = (row.change_median, row.change_99, row.change_largest, row.sky_changed)
        shown = ("-" if one is None else f"{one:.2%}" for one in changes)
        table.add_row(row.size, str(row.images), str(row.process_res), row.fidelity, f"{row.abs_rel:.4f}", *shown)
    return table


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model-dir", default="da3-nano")
    parser.add_argument("--images", type=int, nargs=2, default=(12, 24), help="of 4K, of Full HD")
    parser.add_argument("--process-res", type=int, nargs="+", default=_RESOLUTIONS)
    parser.add_argument(
        "--compare", type=int, nargs="+", default=(224, 504), help="process_res to compare fidelities at"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    paths = draw(options.folder, options.images)
    model = DepthAnything3.from_pretrained(options.model_dir)
    rows = measure(model, paths, options.process_res, options.compare)
    if options.json:
        json.dump([asdict(row) for row in rows], sys.stdout, indent=2)
    else:
        Console(width=120).print(report(rows))


if __name__ == "__main__":
    main()
