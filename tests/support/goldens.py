"""The goldens that every clone carries, and the full set that maintainers name with `--goldens`."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "data"

Arrays = dict[str, np.ndarray]


def compact_case(name: str) -> Arrays:
    """One network case. `key@n` holds only the values at n probe indices."""
    return _with_prefix("model_goldens.npz", name)


def compact_api_case(name: str) -> Arrays:
    """One case of the whole call, thinned likewise."""
    return _with_prefix("api_goldens.npz", name)


def unit_case(name: str) -> Arrays:
    """All arrays of one file of goldens of small parts."""
    return _with_prefix("unit_goldens.npz", name)


def full_case(folder: Path, name: str) -> Arrays:
    """All arrays of one file of the full set."""
    with np.load(folder / "model" / f"{name}.npz") as file:
        return dict(file)


def published_parameters() -> dict[str, dict[str, list[int]]]:
    """Names and shapes of the tensors in each published checkpoint, by preset."""
    return json.loads(lzma.decompress((DATA / "parameters.json.xz").read_bytes()))


def _with_prefix(file_name: str, name: str) -> Arrays:
    prefix = f"{name}/"
    with np.load(DATA / file_name) as file:
        return {key.removeprefix(prefix): file[key] for key in file.files if key.startswith(prefix)}
