"""Make tests/data/model_goldens.npz, the part of the network goldens that is in the repository.

Dense maps are thinned to evenly spread values (key `name@count`); everything else is copied.

    python tools/goldens/model_subset.py FOLDER_OF_THE_FULL_GOLDENS
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

TARGET = REPOSITORY / "tests" / "data" / "model_goldens.npz"
MAX_BYTES = 300_000

# One view; three with a reference view; given cameras; poses from rays; given cameras with small variances.
CASES = ("small_v1", "small_v3", "small_v3_cams", "small_v3_ray", "small_quiet_v3_cams")
THINNED_TO = 512

Array = npt.NDArray[np.generic]


def main() -> None:
    """Write the subset and report its size."""
    arrays = dict(sorted(network_arrays()))
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]  # no array is named allow_pickle
    size = TARGET.stat().st_size
    sys.stdout.write(f"{TARGET.relative_to(REPOSITORY)}: {len(arrays)} arrays, {size:,} bytes\n")
    if size > MAX_BYTES:
        raise SystemExit(f"more than {MAX_BYTES:,} bytes; choose fewer cases or thin them further")


def network_arrays() -> Iterator[tuple[str, Array]]:
    """Select the chosen network cases, with dense maps thinned."""
    for case in CASES:
        for key, value in read(case):
            if value.size > THINNED_TO:
                thinned = value.reshape(-1)[probe_indices(value.size, THINNED_TO)]
                yield f"{case}/{key}@{THINNED_TO}", thinned
            else:
                yield f"{case}/{key}", value


def read(name: str) -> Iterator[tuple[str, Array]]:
    """Read all arrays of one golden file."""
    with np.load(Path(sys.argv[1]) / "model" / f"{name}.npz") as file:
        for key in file.files:
            yield key, file[key]


if __name__ == "__main__":
    main()
