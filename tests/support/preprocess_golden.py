"""The preprocessing goldens that every clone carries; their images are drawn."""

from __future__ import annotations

import json
import zlib
from functools import cache, lru_cache
from typing import Any

import numpy as np

from support.golden_photos import photo
from support.goldens import DATA


@cache
def _subset() -> dict[str, np.ndarray]:
    with np.load(DATA / "preprocess_goldens.npz") as file:
        return {name: file[name] for name in file.files}


def geometry_cases() -> list[dict[str, Any]]:
    """Size, resolution, method and the reference's resulting size and intrinsics: all 342 cases."""
    return json.loads(_subset()["cases"].tobytes())


def pixel_cases() -> list[dict[str, Any]]:
    """Those whose pixels are stored."""
    return [case for case in geometry_cases() if "result" in case]


def usable_cases() -> list[dict[str, Any]]:
    """All cases with a usable result, of which checksum and mean are stored."""
    return [case for case in geometry_cases() if not case["degenerate"]]


def batches() -> list[dict[str, Any]]:
    """Batches, most of mixed sizes, whose results are cropped to a common one."""
    return json.loads(_subset()["batches"].tobytes())


def case_id(case: dict[str, Any]) -> str:
    return f"{case['width']}x{case['height']}-{case['process_res']}-{case['method']}"


def golden_image(case: dict[str, Any]) -> np.ndarray:
    """Draw the image (H, W, 3) of a case or of an item of a batch, and check that it is the one of the goldens."""
    rgb = _drawn(case["width"], case["height"], case["seed"])
    assert zlib.crc32(rgb.tobytes()) == case["photo_crc32"]
    return rgb


@lru_cache(maxsize=1)  # cases of one image follow each other
def _drawn(width: int, height: int, seed: int) -> np.ndarray:
    return photo(width, height, seed)


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
