"""Pseudo-random weights, images and cameras, the same on every machine.

Tests compare the network with results that its authors' implementation gave for these weights, so none of
them needs a checkpoint. Every value is a pure function of a name or a seed (recipe version 1).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Standard deviation of the learned tokens.
_TOKEN_STD = {"cls_token": 0.5, "camera_token": 0.5, "pos_embed": 0.25}

# Gains that keep fields of view near one radian and depths within a few decades.
_GAIN = {".cam_dec.fc_fov.0.weight": 0.25, ".scratch.output_conv2.2.weight": 0.75}

# Shifts that make fields of view positive and let rays point forward.
_SHIFT: dict[str, float | Sequence[float]] = {
    ".cam_dec.fc_fov.0.bias": 1.0,
    ".scratch.output_conv2_aux.3.5.bias": (0, 0, 2, 0, 0, 0, 0),
}

# Profile "quiet" shrinks these, so that the variance inside every norm is small and a wrong epsilon shows.
_QUIET = (
    ".cls_token",
    ".camera_token",
    ".pos_embed",
    ".patch_embed.proj.weight",
    ".patch_embed.proj.bias",
    ".gamma",
    ".attn.qkv.weight",
    ".attn.qkv.bias",
    ".pretrained.norm.weight",
    ".pretrained.norm.bias",
    ".output_conv2_aux.3.0.weight",
    ".output_conv2_aux.3.0.bias",
    ".cam_enc.pose_branch.fc2.weight",
    ".cam_enc.pose_branch.fc2.bias",
    ".cam_enc.token_norm.weight",
    ".cam_enc.token_norm.bias",
)

# Profile "bare_cls" clears these, so that views differ clearly and the choice of a reference has no ties.
_BARE_CLS = (".cls_token", ".pos_embed")


def seeded_state_dict(shapes: Mapping[str, Sequence[int]], profile: str = "normal") -> dict[str, FloatArray]:
    """Weights for every name, which includes the leading `model.`."""
    return {name: seeded_array(name, shape, profile) for name, shape in shapes.items()}


def seeded_array(name: str, shape: Sequence[int], profile: str = "normal") -> FloatArray:
    """One parameter."""
    if profile == "quiet" and name.endswith(_QUIET):
        return _normal_array(name, shape) * np.float32(0.02)
    if profile == "bare_cls" and name.endswith(_BARE_CLS):
        return np.zeros(shape, np.float32)
    if profile not in ("normal", "quiet", "bare_cls"):
        raise ValueError(f"unknown profile {profile!r}")
    return _normal_array(name, shape)


def _normal_array(name: str, shape: Sequence[int]) -> FloatArray:
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    noise = rng.standard_normal(tuple(shape), dtype=np.float32)
    kind = name.rsplit(".", 1)[-1]
    if kind in _TOKEN_STD:
        return noise * np.float32(_TOKEN_STD[kind])
    if kind == "gamma":
        return np.float32(0.3) + np.float32(0.05) * noise
    if kind == "bias":
        shift = _by_suffix(_SHIFT, name, None)
        value = np.float32(0.02) * noise
        return value if shift is None else value + np.asarray(shift, np.float32)
    if kind != "weight":
        raise ValueError(f"no rule for parameter {name!r}")
    if len(shape) == 1:
        return np.float32(1.0) + np.float32(0.1) * noise
    return noise * np.float32(_by_suffix(_GAIN, name, 1.0) / math.sqrt(_fan_in(name, shape)))


def _by_suffix(table, name, default):
    return next((value for suffix, value in table.items() if name.endswith(suffix)), default)


def _fan_in(name: str, shape: Sequence[int]) -> int:
    # In the two transposed convolutions, whose stride is their kernel, one output sees one input cell.
    transposed = name.endswith((".resize_layers.0.weight", ".resize_layers.1.weight"))
    return shape[0] if transposed else math.prod(shape[1:])


def seeded_images(views: int, height: int, width: int, seed: int) -> FloatArray:
    """Smooth images as the network sees them, `(views, 3, H, W)`, mean 0 and deviation 1 over all.

    Each channel is a sum of plane waves, partly shared between views, and a little white noise.
    """
    rng = np.random.Generator(np.random.PCG64(1_000_003 * (seed + 1)))
    v = (np.arange(height)[:, None] + 0.5) / height
    u = (np.arange(width)[None, :] + 0.5) / width
    waves = 12
    shared = rng.standard_normal((3, waves, 4))
    out = np.zeros((views, 3, height, width))
    for view in range(views):
        own = rng.standard_normal((3, waves, 4))
        for channel in range(3):
            for wave in range(waves):
                strength, fu, fv, phase = shared[channel, wave] + 0.35 * own[channel, wave]
                out[view, channel] += strength * np.sin(2.0 * math.pi * (1.5 * fu * u + 1.5 * fv * v + phase))
    out += 0.15 * rng.standard_normal(out.shape)
    out -= out.mean()
    out /= out.std()
    return out.astype(np.float32)


def seeded_images_uint8(views: int, height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """The same images as 8-bit RGB, `(views, H, W, 3)`."""
    x = seeded_images(views, height, width, seed).astype(np.float64)
    levels = np.clip(np.rint(127.5 + 50.0 * x), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def seeded_cameras(views: int, height: int, width: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """World-to-camera matrices `(views, 4, 4)` and intrinsics `(views, 3, 3)` in pixels."""
    rng = np.random.Generator(np.random.PCG64(2_000_003 * (seed + 1)))
    world_to_camera = np.zeros((views, 4, 4))
    intrinsics = np.zeros((views, 3, 3))
    for view in range(views):
        axis = rng.standard_normal(3)
        axis /= math.sqrt(float(axis @ axis))
        rotation = _rotation(axis, 0.6 * rng.standard_normal())
        centre = 1.5 * rng.standard_normal(3)
        world_to_camera[view, :3, :3] = rotation
        world_to_camera[view, :3, 3] = -rotation @ centre
        world_to_camera[view, 3, 3] = 1.0
        intrinsics[view, 0, 0] = width * (0.8 + 0.3 * rng.random())
        intrinsics[view, 1, 1] = height * (1.0 + 0.3 * rng.random())
        intrinsics[view, 0, 2] = 0.5 * width + 2.0 * rng.standard_normal()
        intrinsics[view, 1, 2] = 0.5 * height + 2.0 * rng.standard_normal()
        intrinsics[view, 2, 2] = 1.0
    return world_to_camera.astype(np.float32), intrinsics.astype(np.float32)


def _rotation(axis: npt.NDArray[np.float64], angle: float) -> npt.NDArray[np.float64]:
    """Rotation by an angle about a unit axis (Rodrigues)."""
    c, s = math.cos(angle), math.sin(angle)
    x, y, z = axis
    return np.array(
        [
            [c + x * x * (1 - c), x * y * (1 - c) - z * s, x * z * (1 - c) + y * s],
            [y * x * (1 - c) + z * s, c + y * y * (1 - c), y * z * (1 - c) - x * s],
            [z * x * (1 - c) - y * s, z * y * (1 - c) + x * s, c + z * z * (1 - c)],
        ]
    )


def probe_indices(size: int, count: int = 256) -> npt.NDArray[np.int64]:
    """Evenly spread flat positions at which large arrays are compared."""
    if size <= count:
        return np.arange(size, dtype=np.int64)
    return np.arange(count, dtype=np.int64) * (size - 1) // (count - 1)


def fingerprint(arrays: Mapping[str, npt.NDArray[np.generic]]) -> int:
    """crc32 over names and bytes, in the given order."""
    crc = 0
    for name, value in arrays.items():
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(value).tobytes(), crc)
    return crc
