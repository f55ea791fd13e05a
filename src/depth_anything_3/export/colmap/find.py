"""A folder in, the sparse model in it out; and which of its poses belongs to which image."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.colmap.model import SparseModel

__all__ = ["Pairing", "find_sparse_model", "pair_images"]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Images that have a pose, with it, in the order of the images; and what is left over.

    Attributes:
        paths: (N) of the images.
        extrinsics: (N, 4, 4) float64 world-to-camera.
        intrinsics: (N, 3, 3) float64 in pixels of `sizes`.
        sizes: (N) of (height, width), as the model has them.
        without_pose: images that the model does not have.
        without_image: names of the model's images that are not given.
    """

    paths: tuple[Path, ...]
    extrinsics: npt.NDArray[np.float64]
    intrinsics: npt.NDArray[np.float64]
    sizes: tuple[tuple[int, int], ...]
    without_pose: tuple[Path, ...]
    without_image: tuple[str, ...]


def find_sparse_model(folder: str | os.PathLike[str], subdir: str | None = None) -> Path:
    """The folder of the sparse model in a COLMAP workspace: `sparse/0`, `sparse`, or the folder itself.

    Args:
        folder: the workspace.
        subdir: a folder within `sparse`, or within the workspace, to take in their place.

    Raises:
        InvalidInputError: there is none; the message lists where one was looked for.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: no such folder")
    places = ["sparse/0", "sparse", "."] if subdir is None else [f"sparse/{subdir}", subdir]
    for place in places:
        for suffix in (".bin", ".txt"):
            if all((folder / place / f"{kind}{suffix}").is_file() for kind in ("cameras", "images")):
                return folder / place
    looked = ", ".join(str(folder / place) for place in places)
    raise InvalidInputError(f"{folder}: no sparse model (cameras and images, .bin or .txt) in {looked}")


def pair_images(model: SparseModel, paths: Sequence[Path], folder: str | os.PathLike[str]) -> Pairing:
    """Give each image its pose: by its path below the folder of images, else by its name, where that is the only one.

    Args:
        model: the sparse model.
        paths: the images.
        folder: what the model's names are relative to.

    Raises:
        InvalidInputError: not one image has a pose.
    """
    names = [_plain(name) for name in model.names]
    by_name = {name: number for number, name in enumerate(names)}
    last_parts = Counter(name.rpartition("/")[2] for name in names)
    by_last_part = {name.rpartition("/")[2]: number for number, name in enumerate(names)}
    same_last_part = Counter(_plain(path.name) for path in paths)
    found: dict[Path, int] = {}
    for path in paths:
        number = by_name.get(_plain(Path(os.path.relpath(path, folder)).as_posix()))
        last = _plain(path.name)
        if number is None and last_parts[last] == 1 and same_last_part[last] == 1:
            number = by_last_part[last]
        if number is not None:
            found[path] = number
    if not found:
        given, there = (str(paths[0]) if paths else "none"), model.names[0]
        raise InvalidInputError(
            f"{folder}: no image has a pose; the images are named like {given!r}, those of the model like {there!r}"
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


def _plain(name: str) -> str:
    """A name by which different spellings of the same letters (as macOS stores them) are equal."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))
