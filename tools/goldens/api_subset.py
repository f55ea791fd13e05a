"""Make tests/data/api_goldens.npz, the part of the high-level goldens that is in the repository.

Inputs are omitted, since tests draw them from their seeds; dense maps are thinned to evenly spread values (key
`name@count`); everything else is copied.

    python tools/goldens/api_subset.py FOLDER_OF_THE_FULL_GOLDENS
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

TARGET = REPOSITORY / "tests" / "data" / "api_goldens.npz"
MAX_BYTES = 150_000

# Three views alone; four with cameras, depth in their unit; the same moved into the predicted frame; cameras from rays.
CASES = ("api_small_v3", "api_small_v4_cams", "api_small_v4_cams_noalign", "api_small_v4_cams_ray")
THINNED_TO = 1024

Array = npt.NDArray[np.generic]


def main() -> None:
    """Write the subset and report its size."""
    arrays = dict(pair for case in CASES for pair in case_arrays(case))
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]  # no array is named allow_pickle
    size = TARGET.stat().st_size
    sys.stdout.write(f"{TARGET.relative_to(REPOSITORY)}: {len(arrays)} arrays, {size:,} bytes\n")
    if size > MAX_BYTES:
        raise SystemExit(f"more than {MAX_BYTES:,} bytes; choose fewer cases or thin them further")


def case_arrays(case: str) -> Iterator[tuple[str, Array]]:
    """Select the arrays of one case without its inputs, with dense arrays thinned."""
    with np.load(Path(sys.argv[1]) / "model" / f"{case}.npz") as file:
        for key in file.files:
            value = file[key]
            if key.startswith("input/"):
                continue
            if value.size > THINNED_TO:
                yield f"{case}/{key}@{THINNED_TO}", value.reshape(-1)[probe_indices(value.size, THINNED_TO)]
            else:
                yield f"{case}/{key}", value


if __name__ == "__main__":
    main()
