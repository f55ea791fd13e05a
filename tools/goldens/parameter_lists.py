"""Make tests/data/parameters.json.xz, names and shapes of the tensors in the published checkpoints.

The folder holds one file per preset, `PRESET.json`: a list of name, shape and type of each tensor.

    python tools/goldens/parameter_lists.py FOLDER_OF_THE_LISTS
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

TARGET = Path(__file__).parents[2] / "tests" / "data" / "parameters.json.xz"


def main() -> None:
    """Write the file and report its size."""
    lists = {
        file.stem: {name: shape for name, shape, _dtype in json.loads(file.read_text(encoding="utf-8"))}
        for file in sorted(Path(sys.argv[1]).glob("*.json"))
    }
    TARGET.write_bytes(lzma.compress(json.dumps(lists, separators=(",", ":")).encode()))
    print(f"{TARGET}: {len(lists)} presets, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
