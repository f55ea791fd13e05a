"""Read the cameras of COLMAP sparse models, from binary or text files."""

from __future__ import annotations

import logging
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from depth_anything_3.errors import InputFileError, UnsupportedError
from depth_anything_3.export.colmap.camera_models import CAMERA_MODELS, CameraModel
from depth_anything_3.export.colmap.model import SparseModel, quaternion_to_rotation

__all__ = ["read_sparse_model"]

logger = logging.getLogger(__name__)

_MAX_NAME_BYTES = 4096
_MAX_SIDE_PX = 1 << 20  # a larger one is a sign of damage
_OBSERVATION_BYTES = 24  # x, y, number of the 3D point
_CAMERA_COLUMNS = 4  # number, model, width, height; then parameters
_IMAGE_COLUMNS = 10  # number, quaternion, translation, camera, name


@dataclass(frozen=True)
class _Camera:
    model: CameraModel
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class _Image:
    name: str
    pose: tuple[float, ...]  # quaternion w, x, y, z; translation
    camera: int


def read_sparse_model(folder: str | os.PathLike[str]) -> SparseModel:
    """Read the cameras and images of a sparse model; binary files are preferred to text files.

    Points are not read. Distortion is ignored, with one warning.

    Args:
        folder: with `cameras.bin` and `images.bin`, or `cameras.txt` and `images.txt`.

    Raises:
        InputFileError: a file is missing, truncated or damaged, or there are no images.
        UnsupportedError: a camera has no focal length (panoramas).
    """
    folder = Path(folder)
    for suffix, read_cameras, read_images in (
        (".bin", _read_cameras_binary, _read_images_binary),
        (".txt", _read_cameras_text, _read_images_text),
    ):
        files = folder / f"cameras{suffix}", folder / f"images{suffix}"
        if all(file.is_file() for file in files):
            try:
                return _assemble(folder, read_cameras(files[0]), read_images(files[1]))
            except OSError as error:
                raise InputFileError(f"{folder}: cannot be read ({error.strerror or error})") from error
    raise InputFileError(f"{folder}: no sparse model (cameras.bin and images.bin, or the same as .txt)")


def _assemble(folder: Path, cameras: dict[int, _Camera], images: list[_Image]) -> SparseModel:
    if not images:
        raise InputFileError(f"{folder}: the sparse model has no images")
    extrinsics = np.tile(np.eye(4), (len(images), 1, 1))
    intrinsics = np.tile(np.eye(3), (len(images), 1, 1))
    sizes, distorted = [], set()
    for number, image in enumerate(images):
        camera = cameras.get(image.camera)
        if camera is None:
            raise InputFileError(f"{folder}: image {image.name!r} has camera {image.camera}, which is missing")
        norm = math.hypot(*image.pose[:4])
        if not all(map(math.isfinite, image.pose)) or not 0.5 < norm < 2:  # a quaternion of length 1
            raise InputFileError(f"{folder}: image {image.name!r} has no valid pose; the model is damaged")
        extrinsics[number, :3, :3] = quaternion_to_rotation(np.array(image.pose[:4]))
        extrinsics[number, :3, 3] = image.pose[4:]
        fx, fy, cx, cy = camera.model.pinhole(camera.parameters)
        intrinsics[number, :2] = np.array([[fx, 0.0, cx], [0.0, fy, cy]])
        sizes.append((camera.height, camera.width))
        if camera.model.is_distorted(camera.parameters):
            distorted.add(camera.model.name)
    if distorted:
        logger.warning(
            "%s: the lens distortion of its cameras (%s) is ignored; for exact poses undistort the images first "
            "(colmap image_undistorter)",
            folder,
            ", ".join(sorted(distorted)),
        )
    return SparseModel(tuple(image.name for image in images), extrinsics, intrinsics, tuple(sizes))


def _checked_camera(where: str, model: CameraModel, width: int, height: int, parameters: tuple[float, ...]) -> _Camera:
    if not model.focals:
        raise UnsupportedError(f"{where}: a camera of model {model.name} has no focal length; use a perspective one")
    if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX):
        raise InputFileError(f"{where}: a camera of {width}x{height} pixels; the file is damaged")
    if len(parameters) != model.parameters or not all(map(math.isfinite, parameters)):
        raise InputFileError(
            f"{where}: a {model.name} camera has {model.parameters} finite parameters, not {list(parameters)}"
        )
    if min(model.pinhole(parameters)[:2]) <= 0:
        raise InputFileError(f"{where}: a camera's focal length is {min(model.pinhole(parameters)[:2])}; damaged")
    return _Camera(model, width, height, parameters)


# Binary files


class _Cursor:
    """Reads values from a file, and raises an error at its end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._left = os.fstat(file.fileno()).st_size

    def take(self, layout: str) -> tuple[Any, ...]:  # Any: given by the layout
        size = struct.calcsize(f"<{layout}")
        self.check(size)
        self._left -= size
        return struct.unpack(f"<{layout}", self._file.read(size))

    def skip(self, size: int) -> None:
        self.check(size)
        self._left -= size
        self._file.seek(size, os.SEEK_CUR)

    def count(self, min_bytes: int) -> int:
        """Read a number of records, each of at least so many bytes."""
        (count,) = self.take("Q")
        self.check(count * min_bytes)
        return int(count)

    def text(self) -> str:
        """Text up to the next zero byte."""
        letters = bytearray()
        while (letter := self.take("c")[0]) != b"\0":
            letters += letter
            if len(letters) > _MAX_NAME_BYTES:
                raise InputFileError(f"{self._path}: a name exceeds {_MAX_NAME_BYTES} bytes; the file is damaged")
        return os.fsdecode(bytes(letters))

    def check(self, size: int) -> None:
        """Raise an error if the file has fewer bytes left."""
        if size > self._left:
            raise InputFileError(f"{self._path}: truncated or damaged: it ends early; copy it again")


def _read_cameras_binary(path: Path) -> dict[int, _Camera]:
    cameras = {}
    with path.open("rb") as file:
        cursor = _Cursor(file, path)
        for _ in range(cursor.count(40)):
            number, kind, width, height = cursor.take("IiQQ")
            if not 0 <= kind < len(CAMERA_MODELS):
                raise InputFileError(f"{path}: camera model number {kind} is unknown; the file is damaged, or newer")
            model = CAMERA_MODELS[kind]
            parameters = cursor.take(f"{model.parameters}d")
            cameras[number] = _checked_camera(str(path), model, width, height, parameters)
    return cameras


def _read_images_binary(path: Path) -> list[_Image]:
    images = []
    with path.open("rb") as file:
        cursor = _Cursor(file, path)
        for _ in range(cursor.count(73)):
            _, *pose, camera = cursor.take("I7dI")
            images.append(_Image(cursor.text(), tuple(pose), camera))
            cursor.skip(cursor.count(_OBSERVATION_BYTES) * _OBSERVATION_BYTES)
    return images


# Text files


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield file and number, and text, of each line that is not a comment."""
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if not line.startswith("#"):
                yield f"{path}, line {number}", line.strip()


def _read_cameras_text(path: Path) -> dict[int, _Camera]:
    models = {model.name: model for model in CAMERA_MODELS}
    cameras = {}
    for where, line in _lines(path):
        if not line:
            continue
        words = line.split()
        if len(words) < _CAMERA_COLUMNS or words[1] not in models:
            raise InputFileError(f"{where}: not a camera (CAMERA_ID MODEL WIDTH HEIGHT PARAMS): {line[:60]!r}")
        try:
            number, width, height = (int(words[column]) for column in (0, 2, 3))
            parameters = tuple(map(float, words[_CAMERA_COLUMNS:]))
        except ValueError:
            raise InputFileError(f"{where}: not a number in {line[:60]!r}") from None
        cameras[number] = _checked_camera(where, models[words[1]], width, height, parameters)
    return cameras


def _read_images_text(path: Path) -> list[_Image]:
    images = []
    lines = _lines(path)
    for where, line in lines:
        if not line:
            continue
        words = line.split(maxsplit=_IMAGE_COLUMNS - 1)
        try:
            pose, camera = tuple(map(float, words[1:8])), int(words[8])
            images.append(_Image(words[_IMAGE_COLUMNS - 1], pose, camera))
        except (IndexError, ValueError):
            form = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            raise InputFileError(f"{where}: not an image ({form}): {line[:60]!r}") from None
        next(lines, None)  # its observations, which may be an empty line
    return images
