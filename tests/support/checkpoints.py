"""Checkpoints of zeros, for tests that are about files: written in a moment, whatever their size.

The data of the file is a hole, which takes no room on most file systems. A safetensors file is an eight-byte length,
a JSON header of that length, and the tensors one after the other.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from depth_anything_3.api import DepthAnything3

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}

Shapes = Mapping[str, Sequence[int]]


@lru_cache
def preset_shapes(preset: str) -> Shapes:
    """Name -> shape of every tensor in an official file of this preset."""
    with torch.device("meta"):
        model = DepthAnything3(preset)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def write_sparse_checkpoint(
    folder: Path,
    preset: str = "da3-small",
    *,
    shapes: Shapes | None = None,
    dtype: str = "F32",
    values: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write `config.json` and `model.safetensors` and return the folder.

    `shapes` replaces the preset's own; `values` are the tensors that are not zero.
    """
    header, places, end = {}, {}, 0
    for name, shape in (shapes or preset_shapes(preset)).items():
        begin, end = end, end + ITEM_BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        places[name] = begin
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        start = file.tell()
        for name, value in (values or {}).items():
            file.seek(start + places[name])
            file.write(value.tobytes())
        file.truncate(start + end)
    (folder / "config.json").write_text(json.dumps({"model_name": preset}))
    return folder


def truncate(path: Path, size: int) -> None:
    """Cut a file, or with a negative size that much of its end."""
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
