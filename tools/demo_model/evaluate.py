"""Evaluate a network on unseen scenes, against two baselines that do not use the image.

Depth is compared after multiplying the prediction by the median of truth / prediction outside the sky of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from augment import normalise
from network import NanoDepth
from pool import Drawn, decode_depth, held_out
from scenes import Atlas

__all__ = ["HELD_OUT_SEED", "RAMP_SEED", "Scores", "UnseenScenes", "evaluate", "fit_ramp", "network_size", "ramp"]

HELD_OUT_SEED = 1_000_000_000
"""Seeds of the scenes for evaluation start here, far above all training seeds."""

RAMP_SEED = 2_000_000_000
"""Seeds of the scenes that the ramp is fitted on: of the training distribution, and not the evaluation's."""

_PATCH = 14

Predict = Callable[[Tensor], tuple[Tensor, Tensor | None]]


class Scores(NamedTuple):
    """Means over images; `sky_iou` is intersection over union of all pixels together."""

    abs_rel: float
    delta1: float
    sky_iou: float

    def __str__(self) -> str:
        return f"AbsRel {self.abs_rel:.4f} delta1 {self.delta1:.4f} sky IoU {self.sky_iou:.4f}"


class UnseenScenes:
    """Rendered scenes in memory, in groups of one shape."""

    def __init__(self, count: int, atlas: Atlas, first_seed: int = HELD_OUT_SEED) -> None:
        self.groups: Sequence[Drawn] = list(held_out(first_seed, count, atlas))

    def score(self, predict: Predict) -> Scores:
        """Score a function from RGB 0..1 `(n, 3, H, W)` to depth and sky (or None) `(n, H, W)`."""
        errors, within, hits, union = [], [], 0, 0
        for group in self.groups:
            log_depth, sky = decode_depth(group.depth)
            depth, seen_sky = predict(torch.from_numpy(group.image).float() / 255.0)
            for truth, is_sky, guess in zip(log_depth.exp(), sky, depth, strict=True):
                ground = ~is_sky
                if int(ground.sum()) < 100:
                    continue
                t, g = truth[ground], guess[ground]
                g = g * (t / g).median()
                errors.append(float(((g - t).abs() / t).mean()))
                within.append(float((torch.maximum(g / t, t / g) < 1.25).float().mean()))
            if seen_sky is not None:
                found = seen_sky >= 0.5
                hits += int((found & sky).sum())
                union += int((found | sky).sum())
        return Scores(sum(errors) / len(errors), sum(within) / len(within), hits / max(union, 1))


def network_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Multiply (height, width) by `scale`, in multiples of the patch."""
    height, width = (max(2, round(side * scale / _PATCH)) * _PATCH for side in size)
    return height, width


def evaluate(network: NanoDepth, scenes: UnseenScenes, scale: float) -> Scores:
    """Score a network that sees the images at `scale` times their size."""
    device = next(network.parameters()).device

    def predict(image: Tensor) -> tuple[Tensor, Tensor]:
        size = (image.shape[2], image.shape[3])
        small = F.interpolate(image, network_size(size, scale), mode="bilinear", antialias=True, align_corners=False)
        depth, sky = network.predict(normalise(small).to(device))
        maps = torch.stack([depth, sky], dim=1).float().cpu()
        depth, sky = F.interpolate(maps, size, mode="bilinear", align_corners=False).unbind(1)
        return depth, sky

    with torch.inference_mode():
        return scenes.score(predict)


def ramp(inverse_top: float, inverse_bottom: float) -> Predict:
    """Inverse depth that grows evenly from the top row to the bottom row; equal values make a constant depth."""

    def predict(image: Tensor) -> tuple[Tensor, None]:
        n, _, height, width = image.shape
        place = (torch.arange(height) + 0.5) / height
        inverse = inverse_top + (inverse_bottom - inverse_top) * place
        return (1.0 / inverse.clamp_min(1e-4))[:, None].expand(n, height, width), None

    return predict


def fit_ramp(scenes: UnseenScenes) -> tuple[float, float, Scores]:
    """Find the ramp with the lowest AbsRel; only the ratio of its ends matters, since the scale is aligned."""
    ratios = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2]
    scored = [(scenes.score(ramp(ratio, 1.0)), ratio) for ratio in ratios]
    best, ratio = min(scored, key=lambda pair: pair[0].abs_rel)
    return ratio, 1.0, best
