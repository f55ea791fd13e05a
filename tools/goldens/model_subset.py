"""Make tests/data/model_goldens.npz, the part of the network goldens that is kept in the repository.

The full set lies beside the repository, in ../shared/goldens/model. Dense maps of the network are thinned to evenly
spread values (key `name@count`), the depth that Gaussians lie at to the pixels of those kept (`in/depth_picked`);
everything else is copied.

    python tools/goldens/model_subset.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.seeded_values import probe_indices  # noqa: E402

SOURCE = REPOSITORY.parent / "shared" / "goldens" / "model"
TARGET = REPOSITORY / "tests" / "data" / "model_goldens.npz"
MAX_BYTES = 480_000

# One view; three with a reference view; given cameras; poses from rays; given cameras with small variances.
CASES = ("small_v1", "small_v3", "small_v3_cams", "small_v3_ray", "small_quiet_v3_cams")
THINNED_TO = 512

UNITS = {
    "units_backbone": ("pos_interp/table", "pos_interp/70x98", "pos_interp/14x28", "rope/", "refview/"),
    "units_heads": ("uv/7x5_img98x70/", "uv/1x1_img14x14/"),
    "units_pose": ("quat/", "enc/", "dec/"),
    "units_ray": ("clean/", "dlt/", "ql/"),
    "units_sky_metric": ("mono/depth", "mono/mixed/", "mono/few_sky/", "nested/"),
    # Given poses change places and sizes only.
    "units_gaussians": (
        *("in/", "index", "plain/", "sh/"),
        *("gt/means", "gt/scales", "gt_far/means", "gt_far/scales"),
    ),
}

GAUSSIAN_DEPTH = ("units_gaussians", "in/depth")

Array = npt.NDArray[np.generic]


def main() -> None:
    """Write the subset and report its size."""
    arrays = dict(sorted([*network_arrays(), *unit_arrays()]))
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]  # no array is named allow_pickle
    size = TARGET.stat().st_size
    sys.stdout.write(f"{TARGET.relative_to(REPOSITORY)}: {len(arrays)} arrays, {size:,} bytes\n")
    if size > MAX_BYTES:
        raise SystemExit(f"more than {MAX_BYTES:,} bytes; choose fewer cases or thin them further")


def network_arrays() -> Iterator[tuple[str, Array]]:
    """The chosen network cases, dense maps thinned."""
    for case in CASES:
        for key, value in read(case):
            if value.size > THINNED_TO:
                thinned = value.reshape(-1)[probe_indices(value.size, THINNED_TO)]
                yield f"{case}/{key}@{THINNED_TO}", thinned
            else:
                yield f"{case}/{key}", value


def unit_arrays() -> Iterator[tuple[str, Array]]:
    """The chosen unit cases, whole."""
    for file, prefixes in UNITS.items():
        for key, value in read(file):
            if key.startswith(prefixes) and (file, key) != GAUSSIAN_DEPTH:
                yield f"{file}/{key}", value
    file, key = GAUSSIAN_DEPTH
    arrays = dict(read(file))
    yield f"{file}/{key}_picked", arrays[key].reshape(-1)[arrays["index"]]


def read(name: str) -> Iterator[tuple[str, Array]]:
    """All arrays of one golden file."""
    with np.load(SOURCE / f"{name}.npz") as file:
        for key in file.files:
            yield key, file[key]


if __name__ == "__main__":
    main()
