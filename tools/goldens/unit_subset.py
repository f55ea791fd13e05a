"""Make tests/data/unit_goldens.npz, the goldens of small parts of the network, the alignment and the exports.

Only the arrays that no test reads are omitted.

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
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for its flag
    print(f"{TARGET}: {len(arrays)} arrays, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
