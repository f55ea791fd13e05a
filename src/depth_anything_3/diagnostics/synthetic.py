"""Generate photo-like images for checks, benchmarks and tests.

Solid colours or plain noise would misrepresent the cost of a JPEG decoder. These images consist of overlapping opaque
shapes with the size distribution of natural images ("dead leaves", Lee, Mumford and Huang, IJCV 2001), with texture,
uneven light, lens blur and sensor noise, so files are as large as a camera's: 2 to 3.5 bits per pixel at JPEG quality
95.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["photo", "photo_jpeg"]

_MIN_RADIUS = 5.0  # pixels
_COVERAGE = 1.6  # total area of shapes over area of the image
_LEAVES_PER_DRAW = 4096


def photo(width: int, height: int, seed: int) -> npt.NDArray[np.uint8]:
    """Generate a photo-like image; equal arguments give equal images on one machine.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    rng = np.random.default_rng([seed, width, height])
    palette = rng.uniform(35, 225, (8, 1)) * rng.uniform(0.7, 1.3, (8, 3))
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = palette[0]
    _scatter_leaves(canvas, palette, rng)
    canvas *= 1.0 + 0.16 * _fractal(height, width, rng)[..., None]
    canvas *= _light(height, width, rng)[..., None]
    return _expose(np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.0), np.float32), rng)


def photo_jpeg(width: int, height: int, seed: int, quality: int = 95) -> bytes:
    """Generate the same image as the bytes of a 4:2:0 JPEG file."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, encoded = cv2.imencode(".jpg", photo(width, height, seed)[..., ::-1], flags)
    assert done
    return bytes(encoded)


def _scatter_leaves(
    canvas: npt.NDArray[np.float32], palette: npt.NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Paint ellipses and boxes whose radii r follow the density r^-3, until they reach the coverage."""
    height, width = canvas.shape[:2]
    largest = max(4.0, 0.3 * min(height, width))
    low, high = largest**-2, _MIN_RADIUS**-2
    remaining = _COVERAGE * height * width
    while remaining > 0:
        radius = (low + (high - low) * rng.random(_LEAVES_PER_DRAW)) ** -0.5
        slim = rng.uniform(0.35, 1.0, _LEAVES_PER_DRAW)
        centre = rng.random((_LEAVES_PER_DRAW, 2)) * (width, height)
        angle = rng.uniform(0, 180, _LEAVES_PER_DRAW)
        colour = palette[rng.integers(len(palette), size=_LEAVES_PER_DRAW)] * rng.uniform(
            0.6, 1.4, (_LEAVES_PER_DRAW, 1)
        )
        boxy = rng.random(_LEAVES_PER_DRAW) < 0.35
        for at, r, s, turn, paint, box in zip(centre, radius, slim, angle, colour, boxy, strict=True):
            remaining -= 3.0 * r * r * s
            if remaining <= 0:
                return
            shape = (tuple(map(float, at)), (2 * float(r), 2 * float(r * s)), float(turn))
            if box:
                cv2.fillConvexPoly(canvas, np.intp(cv2.boxPoints(shape)).astype(np.int32), paint.tolist())
            else:
                cv2.ellipse(canvas, shape, paint.tolist(), cv2.FILLED)


def _fractal(height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Generate texture of about unit range, with weaker octaves at finer scales."""
    total = np.zeros((height, width), np.float32)
    for octave in range(8):
        cell = 2 ** (8 - octave)
        shape = (height // cell + 2, width // cell + 2)
        lattice = rng.uniform(-1, 1, shape).astype(np.float32)
        total += 0.7**octave * cv2.resize(lattice, (width, height), interpolation=cv2.INTER_LINEAR)
    return total


def _light(height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Generate light that falls off to one side and to the corners."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    slope = rng.uniform(-0.25, 0.25, 2).astype(np.float32)
    return np.asarray((1.0 + slope[0] * x + slope[1] * y) * (1.05 - 0.18 * (x * x + y * y)), np.float32)


def _expose(canvas: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Add sensor noise, which grows with brightness and is stronger in lightness than in colour; convert to 8 bits."""
    noise = rng.standard_normal(canvas.shape[:2], dtype=np.float32)[..., None]
    noise = noise + 0.5 * rng.standard_normal(canvas.shape, dtype=np.float32)
    np.clip(canvas, 0, 255, out=canvas)
    canvas += noise * np.sqrt(0.3 + 0.01 * canvas)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
