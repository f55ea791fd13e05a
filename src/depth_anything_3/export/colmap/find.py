"""Find the sparse model of a COLMAP workspace, and the image of each pose."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InputFileError, InvalidInputError
from depth_anything_3.export.colmap.model import SparseModel

__all__ = ["Pairing", "find_sparse_model", "pair_images"]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Images and their poses, in the order of the images; and images and poses that have no counterpart.

    Attributes:
        paths: (N,) of the images.
        extrinsics: (N, 4, 4) float64 world-to-camera.
        intrinsics: (N, 3, 3) float64 in pixels of `sizes`.
        sizes: (N,) of (height, width) in the model.
        without_pose: images that are not in the model.
        without_image: names in the model whose images are missing.
    """

    paths: tuple[Path, ...]
    extrinsics: npt.NDArray[np.float64]
    intrinsics: npt.NDArray[np.float64]
    sizes: tuple[tuple[int, int], ...]
    without_pose: tuple[Path, ...]
    without_image: tuple[str, ...]


def find_sparse_model(folder: str | os.PathLike[str], subdir: str | None = None) -> Path:
    """Find the folder of the sparse model in a COLMAP workspace: `sparse/0`, `sparse`, or the workspace itself.

    Args:
        folder: the workspace.
        subdir: a folder in `sparse`, or in the workspace, to use instead.

    Raises:
        InputFileError: there is none; the message lists the folders that were searched.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "not a folder; give the folder that has the images and the sparse model"
        raise InputFileError(f"{folder}: {kind if folder.exists() else 'no such folder'}")
    candidates = ["sparse/0", "sparse", "."] if subdir is None else [f"sparse/{subdir}", subdir]
    for candidate in candidates:
        for suffix in (".bin", ".txt"):
            if all((folder / candidate / f"{kind}{suffix}").is_file() for kind in ("cameras", "images")):
                return folder / candidate
    searched = ", ".join(str(folder / candidate) for candidate in candidates)
    raise InputFileError(f"{folder}: no sparse model (cameras and images, .bin or .txt) in {searched}")


def pair_images(model: SparseModel, paths: Sequence[Path], folder: str | os.PathLike[str]) -> Pairing:
    """Find the pose of each image by its path below the folder of images, else by its name if that is unique.

    Args:
        model: the sparse model.
        paths: the images.
        folder: to which the model's names are relative.

    Raises:
        InvalidInputError: no image has a pose.
    """
    names = [_normalized(name) for name in model.names]
    by_name = {name: number for number, name in enumerate(names)}
    model_counts = Counter(name.rpartition("/")[2] for name in names)
    by_last_part = {name.rpartition("/")[2]: number for number, name in enumerate(names)}
    path_counts = Counter(_normalized(path.name) for path in paths)
    found: dict[Path, int] = {}
    for path in paths:
        number = by_name.get(_normalized(Path(os.path.relpath(path, folder)).as_posix()))
        last = _normalized(path.name)
        if number is None and model_counts[last] == 1 and path_counts[last] == 1:
            number = by_last_part[last]
        if number is not None:
            found[path] = number
    if not found:
        example, in_model = (str(paths[0]) if paths else "none"), model.names[0]
        raise InvalidInputError(
            f"{folder}: no image has a pose; images have names like {example!r}, the sparse model like {in_model!r}"
        )
    numbers = list(found.values())
    taken = set(numbers)
    return Pairing(
        tuple(found),
        model.extrinsics[numbers],
        model.intrinsics[numbers],
        tuple(model.sizes[number] for number in numbers),
        tuple(path for path in paths if path not in found),
        tuple(name for number, name in enumerate(model.names) if number not in taken),
    )


def _normalized(name: str) -> str:
    """Convert a name to Unicode's composed form (macOS stores the decomposed one), with slashes."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))
