"""Write `colmap`: a sparse model of the cameras and the points of confident pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.colmap import SparseModel, SparsePoints, sparse_file_names, write_sparse_model
from depth_anything_3.export.format_options import PointOptions
from depth_anything_3.export.point_cloud import gather_points, homogeneous
from depth_anything_3.prediction import Prediction

__all__ = ["ColmapOptions", "file_names", "write"]

# By how many pixels a side can differ from the scaled one: half a patch, and half a pixel of the first resize.
_MAX_ROUNDING = 7.5
# The same if the scale of the image is known: it does not depend on what was cropped or padded.
_MAX_ROUNDING_OF_SCALED = 0.5


@dataclass(frozen=True)
class ColmapOptions(PointOptions):
    """Options of `colmap`.

    Attributes:
        text: write `.txt` files instead of `.bin`.
    """

    text: bool = False


def file_names(options: ColmapOptions) -> list[str]:
    """List the names of the files."""
    return sparse_file_names(text=options.text)


def write(prediction: Prediction, export_dir: Path, name: str | None, options: ColmapOptions) -> list[Path]:
    """Write PINHOLE cameras in pixels of the files, one image per view, and points with one observation each.

    The files of views are written to `export_dir` itself, like upstream's; those of an independent image to
    `colmap/NAME`.

    Raises:
        InvalidInputError: the sizes of the files, or a camera, are not known.
        UnsupportedError: an image was cropped or padded.
        ExportError: a file cannot be written.
    """
    assert prediction.extrinsics is not None
    assert prediction.intrinsics is not None
    assert prediction.processed_images is not None
    scales = _scales(prediction)
    names = _image_names(prediction.sources)
    spaced = [one for one in names if options.text and one.split() != [one]]
    if spaced:
        raise InvalidInputError(f"colmap: text files hold no names with spaces, such as {spaced[0]!r}; use text=False")
    extrinsics = homogeneous(prediction.extrinsics)
    intrinsics = np.asarray(prediction.intrinsics, np.float64).copy()
    for view, (pose, matrix) in enumerate(zip(extrinsics, intrinsics, strict=True)):
        if not (np.isfinite(pose).all() and np.isfinite(matrix).all()):
            raise InvalidInputError(
                f"colmap: the camera of {prediction.sources[view]} could not be predicted; omit that image"
            )
    intrinsics[:, :2] *= scales[:, :, None]
    threshold = 0.0
    if prediction.conf is not None:
        finite = prediction.conf[np.isfinite(prediction.conf)]
        threshold = float(np.percentile(finite, options.conf_thresh_percentile)) if finite.size else 0.0
    cloud = gather_points(prediction, prediction.conf, threshold, options.num_max_points)
    assert cloud.colors is not None
    # Observations are those of the points, and exact; upstream writes some without a point, and whole pixels.
    observations = np.asarray(cloud.pixels * np.repeat(scales, cloud.counts, axis=0), np.float64)
    model = SparseModel(names, extrinsics, intrinsics, prediction.source_hw)
    points = SparsePoints(cloud.points, cloud.colors, observations, cloud.counts)
    folder = export_dir if name is None else export_dir / "colmap" / name
    return write_sparse_model(folder, model, points, text=options.text)


def _scales(prediction: Prediction) -> npt.NDArray[np.float64]:
    """Compute width and height of the files divided by those of the depth, (N, 2)."""
    views, *size_hw = prediction.depth.shape
    if len(prediction.source_hw) != views or len(prediction.sources) != views:
        raise InvalidInputError("colmap needs the name and size of each file: prediction.sources and source_hw")
    sizes = np.array(prediction.source_hw, np.float64)
    if len(prediction.source_scale) == views:
        uncropped = np.abs(sizes * np.array(prediction.source_scale) - size_hw).max(axis=1) < _MAX_ROUNDING_OF_SCALED
    else:  # a prediction that was not made by the network
        low, high = (np.array(size_hw) - _MAX_ROUNDING) / sizes, (np.array(size_hw) + _MAX_ROUNDING) / sizes
        uncropped = low.max(axis=1) <= high.min(axis=1)
    for view in np.flatnonzero(~uncropped):
        height, width = prediction.source_hw[view]
        raise UnsupportedError(
            f"colmap needs uncropped images, but {prediction.sources[view]} ({width}x{height}) was cropped or padded "
            f"to {size_hw[1]}x{size_hw[0]}; give images of one size, and a process_res_method that does not crop"
        )
    scales: npt.NDArray[np.float64] = (sizes / size_hw)[:, ::-1]
    return scales


def _image_names(sources: tuple[str, ...]) -> tuple[str, ...]:
    """Return the file names; if two are equal, all paths relative to their common folder."""
    paths = [PurePath(source) for source in sources]
    names = [path.name for path in paths]
    if max(Counter(names).values()) == 1:
        return tuple(names)
    shared = 0
    while len({path.parts[: shared + 1] for path in paths}) == 1 and all(
        len(path.parts) > shared + 1 for path in paths
    ):
        shared += 1
    names = [PurePath(*path.parts[shared:]).as_posix() for path in paths]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidInputError(f"colmap: {twice[0]} is given twice; give each image once")
    return tuple(names)
