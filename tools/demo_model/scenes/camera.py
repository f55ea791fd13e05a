"""Convert linear light to 8-bit images, with the artefacts of lens, sensor and JPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["expose"]

_STREAM = 7  # keeps these draws apart from those of the layout


def expose(colour: Tensor, depth: Tensor, seeds: Sequence[int]) -> Tensor:
    """Develop linear light.

    Args:
        colour: `(B, 3, H, W)` float32 linear RGB.
        depth: `(B, H, W)` metres, for defocus.
        seeds: One per image.

    Returns:
        `(B, 3, H, W)` uint8 RGB.
    """
    images = [_develop(one, z, seed) for one, z, seed in zip(colour, depth, seeds, strict=True)]
    return torch.stack(images)


def _develop(colour: Tensor, depth: Tensor, seed: int) -> Tensor:
    rng = np.random.default_rng([seed, _STREAM])
    if rng.random() < 0.12:
        colour = _defocus(colour, depth, rng)
    luminance = colour.mean(0)
    thinned = luminance[::3, ::3].flatten()
    bright = float(torch.quantile(thinned[:: max(1, len(thinned) // 4000)], 0.85).clamp_min(1e-3))
    gain = float(rng.lognormal(0.0, 0.25)) * 0.62 / bright
    balance = torch.tensor(rng.normal(1.0, 0.06, 3), dtype=torch.float32, device=colour.device).view(3, 1, 1)
    # In place from here on: a large image's time is that of memory.
    exposed = colour * (gain * balance)
    exposed.mul_(_vignette(depth.shape, float(rng.uniform(0.0, 0.3)), colour.device))
    # A shoulder instead of a hard clip: straight to 0.6, then towards 1.
    shoulder = exposed.sub(0.6).clamp_min_(0.0).div_(-0.4).exp_().sub_(1.0).mul_(-0.4)
    image = exposed.clamp_max_(0.6).add_(shoulder).clamp_(1e-5, 1.0).pow_(1.0 / 2.2)
    if rng.random() < 0.5:
        contrast = float(rng.uniform(0.0, 0.5))
        image = torch.lerp(image, image * image * (3.0 - 2.0 * image), contrast)
    if rng.random() < 0.05:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    image = image + _noise(image, rng)
    eight_bit = image.mul_(255.0).round_().clamp_(0, 255).to(torch.uint8)
    return _through_jpeg(eight_bit, int(rng.integers(35, 96))) if rng.random() < 0.4 else eight_bit


def _noise(image: Tensor, rng: np.random.Generator) -> Tensor:
    strength = float(rng.exponential(0.010))
    source = torch.Generator(device=image.device).manual_seed(int(rng.integers(2**31)))
    noise = torch.randn(image.shape, generator=source, device=image.device)
    return noise.mul_(strength).mul_(1.2 - 0.7 * image)


def _vignette(size: torch.Size, strength: float, device: torch.device) -> Tensor:
    y = torch.linspace(-1, 1, size[0], device=device)[:, None]
    x = torch.linspace(-1, 1, size[1], device=device)
    return 1.0 - strength * 0.5 * (x * x + y * y)


def _defocus(colour: Tensor, depth: Tensor, rng: np.random.Generator) -> Tensor:
    """Blend two blurred copies in where the subject's distance is missed."""
    size = depth.shape
    sharp = (
        float(torch.quantile(depth[depth.isfinite()][::97], float(rng.uniform(0.05, 0.6))))
        if depth.isfinite().any()
        else 5.0
    )
    circle = (1.0 / sharp - depth.reciprocal()).abs() * sharp * float(rng.uniform(0.3, 1.2))
    result = colour
    for level, factor in enumerate((2, 4)):
        factor *= max(1, min(size) // 250)
        small = interpolate(colour[None], scale_factor=1 / factor, mode="area")
        blurred = interpolate(small, size=size, mode="bilinear", align_corners=False)[0]
        result = torch.lerp(result, blurred, (circle - 0.35 - 0.6 * level).clamp(0.0, 0.5) * 2.0)
    return result


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file)).copy()
    return torch.from_numpy(decoded).permute(2, 0, 1).to(image.device)
