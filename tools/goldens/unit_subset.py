"""Make tests/data/unit_goldens.npz, the goldens of the network's, the alignment's and the exports' small parts.

All of them are kept in the repository, but for what no test reads.

    python tools/goldens/unit_subset.py FOLDER_OF_THE_FULL_GOLDENS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

TARGET = Path(__file__).parents[2] / "tests" / "data" / "unit_goldens.npz"
UNREAD = ("aligned_w2c", "non_sky")


def main() -> None:
    """Write the file and report its size."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for source in sorted((Path(sys.argv[1]) / "model").glob("units_*.npz")):
        with np.load(source) as file:
            arrays |= {f"{source.stem}/{key}": file[key] for key in file.files if not key.endswith(UNREAD)}
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]  # no array is named allow_pickle
    print(f"{TARGET}: {len(arrays)} arrays, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
