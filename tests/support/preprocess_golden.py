"""The preprocessing goldens: the subset that every clone carries, and the full set where it is."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from depth_anything_3.inputs.decode.cpu.decode import decode
from depth_anything_3.inputs.header import probe

SUBSET = Path(__file__).parents[1] / "data" / "preprocess_goldens.npz"


@cache
def _subset() -> dict[str, np.ndarray]:
    with np.load(SUBSET) as file:
        return {name: file[name] for name in file.files}


def geometry_cases() -> list[dict[str, Any]]:
    """Size, resolution, method and the reference's resulting size and intrinsics: all 342 cases."""
    return json.loads(_subset()["cases"].tobytes())


def pixel_cases() -> list[dict[str, Any]]:
    """Those whose pixels are in the subset."""
    return [case for case in geometry_cases() if "picture" in case]


def case_id(case: dict[str, Any]) -> str:
    return f"{case['width']}x{case['height']}-{case['process_res']}-{case['method']}"


def picture(case: dict[str, Any]) -> np.ndarray:
    data = _subset()[case["picture"]].tobytes()
    return decode(data, probe(data, "golden"), "golden")


def expected(case: dict[str, Any]) -> np.ndarray:
    """The stored result: whole, or every so many rows and columns."""
    return _subset()[case["result"]]


def sampled(case: dict[str, Any], result: np.ndarray) -> np.ndarray:
    """The part of a whole (H, W, 3) result that is stored."""
    at = case["sample"]
    return result[at["top"] :: at["step_y"], at["left"] :: at["step_x"]] if at else result


def golden_levels() -> np.ndarray:
    """(256, 3): the reference's normalised value of every level."""
    return _subset()["levels"]


def full_cases(shared: Path) -> list[dict[str, Any]]:
    """All cases of the full set that have a usable result."""
    cases = []
    for file in sorted((shared / "goldens" / "preprocess").glob("res*.npz")):
        with np.load(file) as golden:
            cases += [case for case in json.loads(golden["index"].tobytes())["cases"] if not case["degenerate"]]
    return cases


def batches(shared: Path) -> list[dict[str, Any]]:
    with np.load(shared / "goldens" / "preprocess" / "batch.npz") as golden:
        return json.loads(golden["index"].tobytes())["batches"]
