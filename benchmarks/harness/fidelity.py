"""Compare 8-bit images by PSNR and largest difference in levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.inputs.resample.normalize import MEAN, STD

__all__ = ["Difference", "difference", "normalized_difference", "worst"]


@dataclass(frozen=True)
class Difference:
    """Of two images: largest in levels of 255, PSNR in dB (infinite where equal), share of samples that differ."""

    levels: int
    psnr_db: float
    differing: float

    def __str__(self) -> str:
        return f"max {self.levels}, {self.psnr_db:.1f} dB, {100 * self.differing:.2g} % differ"


def difference(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> Difference:
    """Compare two uint8 arrays of one shape."""
    apart = np.abs(a.astype(np.int16) - b.astype(np.int16))
    error = float((apart.astype(np.float64) ** 2).mean())
    psnr_db = math.inf if error == 0 else 10 * math.log10(255.0**2 / error)
    return Difference(int(apart.max(initial=0)), psnr_db, float((apart > 0).mean()))


def normalized_difference(result: torch.Tensor, reference: torch.Tensor) -> Difference:
    """Compare the 8-bit images behind two normalised batches (N, 3, H, W)."""
    return difference(_levels(result), _levels(reference))


def worst(differences: Sequence[Difference]) -> Difference:
    """Return the worst value of each measure."""
    return Difference(
        max(one.levels for one in differences),
        min(one.psnr_db for one in differences),
        max(one.differing for one in differences),
    )


def _levels(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Normalised values to the nearest of 256 levels, which bfloat16 is fine enough to distinguish."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return ((tensor.float().cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
