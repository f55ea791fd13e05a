"""Cut the preprocessing goldens down to what a plain clone carries: all geometry, and the pixels of a few cases.

    python tools/goldens/preprocess_subset.py PATH_OF_SHARED

Writes `tests/data/preprocess_goldens.npz`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np

_TARGET = Path(__file__).parents[2] / "tests" / "data" / "preprocess_goldens.npz"
_GEOMETRY = (
    *("width", "height", "process_res", "method", "out_hw", "degenerate", "area_only"),
    *("intrinsics_in", "intrinsics_dtype", "intrinsics_out"),
)
_PIXELS = ("crc32", "sample")
_SIZES = {(14, 14), (200, 150), (7, 500), (510, 300)}  # enlarged, shrunk, thin; both one and two steps
_RESOLUTIONS = (336, 504)


def main() -> None:
    """Write the subset."""
    shared = Path(sys.argv[1])
    spec = importlib.util.spec_from_file_location("golden_photos", shared / "spec" / "photos.py")
    assert spec
    assert spec.loader
    photos = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(photos)

    cases, arrays = [], {}
    for file in sorted((shared / "goldens" / "preprocess").glob("res*.npz")):
        with np.load(file) as golden:
            for case in json.loads(golden["index"].tobytes())["cases"]:
                short = {name: case[name] for name in _GEOMETRY}
                size = (case["width"], case["height"])
                if size in _SIZES and case["process_res"] in _RESOLUTIONS and not case["degenerate"]:
                    short |= {name: case.get(name) for name in _PIXELS}
                    short["plain_crc32"] = case["plain"]["crc32"]
                    short["picture"] = picture = f"{size[0]}x{size[1]}s{case['seed']}"
                    kind = case["stored"]
                    short["result"] = key = f"{case['process_res']}{case['key']}.{kind}"
                    arrays[key] = golden[f"{case['key']}.{kind}"]
                    pixels = photos.photo(*size, case["seed"])[..., ::-1]
                    arrays[picture] = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
                cases.append(short)
    with np.load(shared / "goldens" / "preprocess" / "normalise.npz") as golden:
        arrays["levels"] = golden["lut"]
    arrays["cases"] = np.frombuffer(json.dumps(cases).encode(), np.uint8)
    np.savez_compressed(_TARGET, **arrays)
    print(f"{_TARGET}: {len(cases)} cases, {_TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
