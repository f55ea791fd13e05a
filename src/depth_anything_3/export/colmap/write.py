"""Write COLMAP sparse models, with a rig and a frame for each image."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.export.colmap.model import SparseModel, SparsePoints, rotation_to_quaternion
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["sparse_file_names", "write_sparse_model"]

_PINHOLE = 1
_CAMERA_SENSOR = 0
_FILES = ("points3D", "images", "cameras", "rigs", "frames")
_OBSERVATION = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
_POINT = np.dtype(
    [
        ("number", "<u8"),
        ("xyz", "<f8", 3),
        ("rgb", "u1", 3),
        ("error", "<f8"),
        ("track_length", "<u8"),
        ("image", "<u4"),
        ("observation", "<u4"),
    ]
)


def sparse_file_names(*, text: bool) -> list[str]:
    """List the names of the files that `write_sparse_model` writes."""
    return [f"{stem}{'.txt' if text else '.bin'}" for stem in _FILES]


def write_sparse_model(folder: Path, model: SparseModel, points: SparsePoints, *, text: bool = False) -> list[Path]:
    """Write a model with one PINHOLE camera per image, numbered from 1, and one observation per point.

    Args:
        folder: created if missing.
        model: the images and their cameras.
        points: by image.
        text: write text files instead of binary files. COLMAP prefers binary files if there are both.

    Returns:
        Paths of the files.

    Raises:
        ExportError: a file cannot be written.
    """
    poses = [(*rotation_to_quaternion(pose[:3, :3]).tolist(), *pose[:3, 3].tolist()) for pose in model.extrinsics]
    contents = _text_files(model, points, poses) if text else _binary_files(model, points, poses)
    paths = []
    for name, content in zip(sparse_file_names(text=text), contents, strict=True):
        with atomic_write(folder / name) as temporary, temporary.open("wb") as file:
            file.writelines(content)
        paths.append(folder / name)
    return paths


def _starts(points: SparsePoints) -> npt.NDArray[np.int64]:
    """Index of each image's first point."""
    return np.cumsum(points.counts) - points.counts


def _pinhole(intrinsics: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    return float(intrinsics[0, 0]), float(intrinsics[1, 1]), float(intrinsics[0, 2]), float(intrinsics[1, 2])


def _point_rows(points: SparsePoints) -> npt.NDArray[Any]:  # Any: named columns
    rows = np.zeros(len(points.points), _POINT)
    rows["number"] = np.arange(1, len(rows) + 1)
    rows["xyz"], rows["rgb"] = points.points, points.colors
    rows["track_length"] = 1
    rows["image"] = np.repeat(np.arange(1, len(points.counts) + 1), points.counts)
    rows["observation"] = np.arange(len(rows)) - np.repeat(_starts(points), points.counts)
    return rows


def _binary_files(
    model: SparseModel, points: SparsePoints, poses: list[tuple[float, ...]]
) -> Iterator[Iterable[bytes]]:
    """The contents of the files, in their order."""
    count = struct.pack("<Q", len(poses))
    numbers = range(1, len(poses) + 1)
    yield struct.pack("<Q", len(points.points)), _point_rows(points).tobytes()
    yield [count, *_binary_images(model, points, poses)]
    yield [
        count,
        *(
            struct.pack("<IiQQ4d", number, _PINHOLE, width, height, *_pinhole(matrix))
            for number, (height, width), matrix in zip(numbers, model.sizes, model.intrinsics, strict=True)
        ),
    ]
    yield [count, *(struct.pack("<IIiI", number, 1, _CAMERA_SENSOR, number) for number in numbers)]
    yield [
        count,
        *(
            struct.pack("<II7dIiIQ", number, number, *pose, 1, _CAMERA_SENSOR, number, number)
            for number, pose in zip(numbers, poses, strict=True)
        ),
    ]


def _binary_images(model: SparseModel, points: SparsePoints, poses: list[tuple[float, ...]]) -> Iterator[bytes]:
    images = zip(model.names, poses, _starts(points).tolist(), points.counts.tolist(), strict=True)
    for number, (name, pose, start, seen) in enumerate(images, 1):
        yield struct.pack("<I7dI", number, *pose, number) + os.fsencode(name) + b"\0"
        rows = np.empty(seen, _OBSERVATION)
        rows["xy"] = points.observations[start : start + seen]
        rows["point"] = np.arange(start + 1, start + seen + 1)
        yield struct.pack("<Q", seen) + rows.tobytes()


def _text_files(model: SparseModel, points: SparsePoints, poses: list[tuple[float, ...]]) -> Iterator[Iterable[bytes]]:
    """The contents of the files, in their order."""
    numbers = range(1, len(poses) + 1)
    yield _lines(
        f"{row['number']} {_numbers(row['xyz'])} {' '.join(map(str, row['rgb']))} 0 {row['image']} {row['observation']}"
        for row in _point_rows(points)
    )
    yield _lines(_text_images(model, points, poses))
    yield _lines(
        f"{number} PINHOLE {width} {height} {_numbers(_pinhole(matrix))}"
        for number, (height, width), matrix in zip(numbers, model.sizes, model.intrinsics, strict=True)
    )
    yield _lines(f"{number} 1 CAMERA {number}" for number in numbers)
    yield _lines(
        f"{number} {number} {_numbers(pose)} 1 CAMERA {number} {number}"
        for number, pose in zip(numbers, poses, strict=True)
    )


def _text_images(model: SparseModel, points: SparsePoints, poses: list[tuple[float, ...]]) -> Iterator[str]:
    images = zip(model.names, poses, _starts(points).tolist(), points.counts.tolist(), strict=True)
    for number, (name, pose, start, seen) in enumerate(images, 1):
        yield f"{number} {_numbers(pose)} {number} {name}"
        observations = points.observations[start : start + seen].tolist()
        yield " ".join(f"{x!r} {y!r} {point}" for point, (x, y) in enumerate(observations, start + 1))


def _numbers(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def _lines(lines: Iterable[str]) -> Iterator[bytes]:
    return (os.fsencode(f"{line}\n") for line in lines)
