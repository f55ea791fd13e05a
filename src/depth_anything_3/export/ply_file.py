"""Write binary PLY files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["write_vertices"]

_TYPES = {"<f4": "float", "|u1": "uchar"}


def write_vertices(path: Path, rows: npt.NDArray[Any], comments: tuple[str, ...] = ()) -> None:  # Any: named columns
    """Write the `vertex` element of a little-endian PLY file.

    Args:
        path: of the file.
        rows: (M,) structured array, packed, with little-endian float32 and uint8 columns.
        comments: lines of the header, in ASCII.

    Raises:
        ExportError: the file cannot be written.
    """
    assert rows.dtype.names is not None
    columns = (f"property {_TYPES[rows.dtype[name].str]} {name}" for name in rows.dtype.names)
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    header += [f"element vertex {len(rows)}", *columns, "end_header", ""]
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(np.ascontiguousarray(rows).data)
