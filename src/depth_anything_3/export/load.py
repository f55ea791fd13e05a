"""A file that `npz` or `mini_npz` wrote in, the `Prediction` out."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.prediction import Prediction

__all__ = ["load_prediction"]

_AXES = {"depth": 3, "conf": 3, "extrinsics": 3, "intrinsics": 3, "image": 4}
_CURE = "give a results.npz or NAME.npz that `npz` or `mini_npz` wrote"


def load_prediction(path: str | os.PathLike[str]) -> Prediction:
    """Read a result back, of this package or upstream's.

    What such files do not hold is absent: the names and sizes of the sources, sky, features, Gaussians; upstream's do
    not say whether depth is in metres; in `mini_npz` also the pictures. Depth and confidence are rounded as they were
    written.

    Args:
        path: of the file.

    Raises:
        InvalidInputError: the file cannot be read, is no such file, lacks depth, or its arrays do not fit together.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InvalidInputError(f"{path}: not a regular file; {_CURE}")  # a pipe would be waited for
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):  # numpy would speak of pickles
                raise InvalidInputError(f"{path}: not an .npz archive, or a cut one; {_CURE}")
            stream.seek(0)
            file = np.load(stream, allow_pickle=False)
            arrays = {name: file[name] for name in _AXES if name in file.files}
            names = file.files
            is_metric = "is_metric" in names and bool(np.all(file["is_metric"]))
    except InvalidInputError:
        raise
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError, NotImplementedError) as error:
        raise InvalidInputError(
            f"{path}: not an .npz archive of plain arrays, or damaged ({error}); {_CURE}"
        ) from error
    if "depth" not in arrays:
        raise InvalidInputError(f"{path}: no depth in it, but {', '.join(names) or 'nothing'}; {_CURE}")
    _check_arrays(path, arrays)
    return Prediction(
        depth=np.asarray(arrays["depth"], np.float32),
        is_metric=int(is_metric),
        depth_kind=DepthKind.METRIC if is_metric else DepthKind.RELATIVE,
        conf=None if "conf" not in arrays else np.asarray(arrays["conf"], np.float32),
        extrinsics=arrays.get("extrinsics"),
        intrinsics=arrays.get("intrinsics"),
        processed_images=arrays.get("image"),
    )


def _check_arrays(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:  # Any: the dtype is what is being checked
    depth = arrays["depth"]
    for name, array in arrays.items():
        wanted = np.uint8 if name == "image" else np.floating
        if array.ndim != _AXES[name] or not np.issubdtype(array.dtype, wanted) or not array.size:
            raise InvalidInputError(f"{path}: {name} is {array.dtype}{list(array.shape)}, which it never is; {_CURE}")
    views, height, width = depth.shape
    fitting: dict[str, list[tuple[int, ...]]] = {
        "conf": [(views, height, width)],
        "image": [(views, height, width, 3)],
        "extrinsics": [(views, 3, 4), (views, 4, 4)],
        "intrinsics": [(views, 3, 3)],
    }
    for name, shapes in fitting.items():
        if name in arrays and arrays[name].shape not in shapes:
            raise InvalidInputError(f"{path}: {name}{list(arrays[name].shape)} does not fit depth{list(depth.shape)}")
