"""Make tests/data/preprocess_goldens.npz, the part of the preprocessing goldens that is in the repository.

It holds the geometry and checksums of every case, and the pixels of a few. The images themselves are drawn by
`tests/support/golden_photos.py`.

    python tools/goldens/preprocess_subset.py FOLDER_OF_THE_FULL_GOLDENS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[2] / "tests" / "data" / "preprocess_goldens.npz"
CASE = (
    *("width", "height", "seed", "photo_crc32", "process_res", "method", "out_hw", "degenerate", "area_only"),
    *("intrinsics_in", "intrinsics_dtype", "intrinsics_out", "crc32", "mean"),
)
BATCH = ("process_res", "method", "tensor_shape")
ITEM = ("width", "height", "seed", "photo_crc32", "intrinsics_in", "intrinsics_out", "crop_top_left", "crc32", "mean")
SIZES = {(14, 14), (200, 150), (7, 500), (510, 300)}  # enlarged, shrunk, thin; both one and two steps
RESOLUTIONS = (336, 504)


def main() -> None:
    """Write the subset and report its size."""
    folder = Path(sys.argv[1]) / "preprocess"
    cases, arrays = [], {}
    for file in sorted(folder.glob("res*.npz")):
        with np.load(file) as golden:
            for case in json.loads(golden["index"].tobytes())["cases"]:
                short = {name: case[name] for name in CASE if name in case}
                size = (case["width"], case["height"])
                if size in SIZES and case["process_res"] in RESOLUTIONS and not case["degenerate"]:
                    kind = case["stored"]
                    short["sample"] = case.get("sample")
                    short["plain_crc32"] = case["plain"]["crc32"]
                    short["result"] = key = f"{case['process_res']}{case['key']}.{kind}"
                    arrays[key] = golden[f"{case['key']}.{kind}"]
                cases.append(short)
    with np.load(folder / "batch.npz") as golden:
        batches = [
            {name: batch[name] for name in BATCH}
            | {"items": [{name: item[name] for name in ITEM} for item in batch["items"]]}
            for batch in json.loads(golden["index"].tobytes())["batches"]
        ]
    with np.load(folder / "normalise.npz") as golden:
        arrays["levels"] = golden["lut"]
    for name, records in (("cases", cases), ("batches", batches)):
        arrays[name] = np.frombuffer(json.dumps(records).encode(), np.uint8)
    np.savez_compressed(TARGET, **arrays)
    print(f"{TARGET}: {len(cases)} cases, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
