"""Read predictions back from files that `npz` or `mini_npz` wrote."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InputFileError
from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.prediction import Prediction

__all__ = ["load_prediction"]

_DIMENSIONS = {"depth": 3, "conf": 3, "extrinsics": 3, "intrinsics": 3, "image": 4}
_DAMAGED = (
    *(ValueError, EOFError, KeyError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError),  # NumPy parses the header of an array as Python
)
_HINT = "give a results.npz or NAME.npz that `npz` or `mini_npz` wrote"


def load_prediction(path: str | os.PathLike[str]) -> Prediction:
    """Read a prediction from a file of this package or of upstream.

    The files do not hold sizes of the sources, sky, features and Gaussians; `mini_npz` also lacks the images.
    Upstream's files do not name the sources, or state whether depth is metric. Depth and confidence were rounded when
    they were written.

    Args:
        path: of the file.

    Raises:
        InputFileError: the file cannot be read, is not such a file, lacks depth, or its arrays do not match.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputFileError(f"{path}: not a regular file; {_HINT}")  # reading a pipe would block
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):  # numpy's own message is about pickles
                raise InputFileError(f"{path}: not an .npz archive, or a truncated one; {_HINT}")
            stream.seek(0)
            file = np.load(stream, allow_pickle=False)
            arrays = {name: file[name] for name in _DIMENSIONS if name in file.files}
            names = file.files
            sources = tuple(map(str, file["names"])) if "names" in names else ()
            is_metric = "is_metric" in names and bool(np.all(file["is_metric"]))
    except InputFileError:
        raise
    except FileNotFoundError:
        raise InputFileError(f"{path}: no such file") from None
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _DAMAGED as error:
        raise InputFileError(f"{path}: not an .npz archive of plain arrays, or damaged ({error}); {_HINT}") from error
    if "depth" not in arrays:
        raise InputFileError(f"{path}: has no depth, only {', '.join(names) or 'nothing'}; {_HINT}")
    _check_arrays(path, arrays)
    return Prediction(
        depth=np.asarray(arrays["depth"], np.float32),
        sources=sources if len(sources) == len(arrays["depth"]) else (),
        is_metric=int(is_metric),
        depth_kind=DepthKind.METRIC if is_metric else DepthKind.RELATIVE,
        conf=None if "conf" not in arrays else np.asarray(arrays["conf"], np.float32),
        extrinsics=arrays.get("extrinsics"),
        intrinsics=arrays.get("intrinsics"),
        processed_images=arrays.get("image"),
    )


def _check_arrays(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:  # Any: the dtype is checked here
    depth = arrays["depth"]
    for name, array in arrays.items():
        expected = np.uint8 if name == "image" else np.floating
        if array.ndim != _DIMENSIONS[name] or not np.issubdtype(array.dtype, expected) or not array.size:
            raise InputFileError(f"{path}: {name} is {array.dtype}{list(array.shape)}, which is not valid; {_HINT}")
    views, height, width = depth.shape
    accepted: dict[str, list[tuple[int, ...]]] = {
        "conf": [(views, height, width)],
        "image": [(views, height, width, 3)],
        "extrinsics": [(views, 3, 4), (views, 4, 4)],
        "intrinsics": [(views, 3, 3)],
    }
    for name, shapes in accepted.items():
        if name in arrays and arrays[name].shape not in shapes:
            raise InputFileError(f"{path}: {name}{list(arrays[name].shape)} does not match depth{list(depth.shape)}")
