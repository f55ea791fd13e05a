"""Convert raw parameters per pixel, depth and cameras to 3D Gaussians in world coordinates.

After the pixel-aligned Gaussians of pixelSplat (Charatan et al., 2024), as used in DA3 (Lin et al., 2025).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_anything_3.model.gaussian_head import RawGaussians
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.model.geometry import matrix_to_quaternion, quaternion_product, rigid_inverse
from depth_anything_3.model.spherical_harmonics import COEFFICIENTS, harmonics_rotation

__all__ = ["camera_scale", "place_gaussians"]

_PARTS = (2, 3, 4, 3 * COEFFICIENTS, 1)  # of the raw channels
_MIN_SCALE, _MAX_SCALE = 1e-5, 30.0  # scales, in units of a tenth of a pixel's width and height together
_PIXEL_SHARE = 0.1
_DEGREE_STRENGTH = (1.0, *3 * (0.025,), *5 * (0.00625,))
_SCALE_LIMITS = (1 / 3, 3.0)
_COLLINEAR = 1e-6


def place_gaussians(
    raw: RawGaussians,
    depth: Tensor,
    extrinsics: Tensor,
    intrinsics: Tensor,
    *,
    given_extrinsics: Tensor | None = None,
) -> Gaussians:
    """Place a Gaussian for every pixel.

    Args:
        raw: Output of the Gaussian head, `(B, S, H, W, ...)`.
        depth: `(B, S, H, W)` as predicted; here it is measured along the ray, not along the optical axis.
        extrinsics: `(B, S, 3, 4)` predicted poses, world to camera.
        intrinsics: `(B, S, 3, 3)` predicted, in pixels, without skew.
        given_extrinsics: `(B, S, 4, 4)` given poses. The Gaussians then have their scale, limited to between 1/3 and 3
            times the predicted one.

    Returns:
        Float32 Gaussians with the cameras of their frame, on the device of the inputs.
    """
    offset, scale, quaternion, harmonics, depth_offset = torch.split(raw.raw, list(_PARTS), dim=-1)
    camera_to_world = rigid_inverse(extrinsics)
    rotation, centre = camera_to_world[..., :3], camera_to_world[..., 3]
    distance = depth.unsqueeze(-1) + depth_offset
    if given_extrinsics is not None:
        factor = camera_scale(centre, rigid_inverse(given_extrinsics)[..., :3, 3])[:, None, None]
        centre, distance = centre * factor, distance * factor[..., None, None]
        extrinsics = torch.cat([extrinsics[..., :3], extrinsics[..., 3:] * factor[..., None]], dim=-1)

    rays = _rays(offset, intrinsics)
    # Sums of products instead of a matrix product, which a caller may have set to low precision.
    rays = (rotation[:, :, None, None] * rays.unsqueeze(-2)).sum(dim=-1)
    means = centre[:, :, None, None] + distance * rays

    pixel = _PIXEL_SHARE * (intrinsics[..., 0, 0].reciprocal() + intrinsics[..., 1, 1].reciprocal())
    scales = (_MIN_SCALE + (_MAX_SCALE - _MIN_SCALE) * scale.sigmoid()) * distance * pixel[..., None, None, None]

    strength = harmonics.new_tensor(_DEGREE_STRENGTH)
    # One matrix product per view: with a batch of pixels, the matrix would be copied for each.
    coefficients = torch.unflatten(harmonics, -1, (3, COEFFICIENTS)).flatten(2, 4)
    turn = strength.unsqueeze(-1) * harmonics_rotation(rotation).transpose(-1, -2)
    return Gaussians(
        means=means.flatten(1, 3),
        scales=scales.flatten(1, 3),
        rotations=_rotations(quaternion, rotation).flatten(1, 3),
        harmonics=torch.unflatten(coefficients @ turn, 2, (-1, 3)).flatten(1, 2),
        opacities=raw.density.flatten(1),
        extrinsics=extrinsics,
        intrinsics=intrinsics,
    )


def camera_scale(predicted: Tensor, given: Tensor) -> Tensor:
    """Fit the scale of the similarity that maps predicted camera centres to given ones (Umeyama, 1991).

    Args:
        predicted: `(B, S, 3)`.
        given: `(B, S, 3)`.

    Returns:
        `(B,)` float32, from 1/3 to 3; 1 for a scene whose centres are collinear or not finite.
    """
    # Small, so computed on the CPU in float64, like the cameras from rays.
    source, target = (x.detach().cpu().double() for x in (predicted, given))
    finite = (source.isfinite() & target.isfinite()).flatten(1).all(dim=-1)
    source, target = (torch.where(finite[:, None, None], x, 0) for x in (source, target))
    source, target = (x - x.mean(dim=1, keepdim=True) for x in (source, target))
    u, d, vt = torch.linalg.svd(target.transpose(-1, -2) @ source / source.shape[1])
    sign = torch.ones_like(d)
    sign[:, 2] = torch.where(torch.linalg.det(u) * torch.linalg.det(vt) < 0, -1.0, 1.0)
    variance = (source**2).sum(dim=(-1, -2)) / source.shape[1]
    determined = d[:, 1] > _COLLINEAR * d[:, 0]
    scale = torch.where(determined, (d * sign).sum(dim=-1) / variance, 1.0)
    return scale.clamp(*_SCALE_LIMITS).to(predicted.device, torch.float32)


def _rays(offset: Tensor, intrinsics: Tensor) -> Tensor:
    """Compute unit directions in camera axes, `(B, S, H, W, 3)`, through pixels offset by `(B, S, H, W, 2)`."""
    height, width = offset.shape[2:4]
    cols, rows = (torch.arange(n, dtype=offset.dtype, device=offset.device) + 0.5 for n in (width, height))
    focal = intrinsics.diagonal(dim1=-2, dim2=-1)[:, :, None, None, :2]
    principal = intrinsics[:, :, None, None, :2, 2]
    pixels = torch.stack(torch.meshgrid(cols, rows, indexing="xy"), dim=-1) + offset
    plane = (pixels - principal) / focal
    return F.normalize(torch.cat([plane, torch.ones_like(plane[..., :1])], dim=-1), dim=-1)


def _rotations(quaternion: Tensor, camera_rotation: Tensor) -> Tensor:
    """Rotate raw quaternions `(B, S, H, W, 4)` from camera to world axes: unit length, (x, y, z, w), w >= 0."""
    # In camera axes the order is (y, z, w, x). The result is stored as (x, y, z, w) and read as (w, x, y, z). This is
    # inconsistent, but the weights were trained with it.
    local = torch.cat([quaternion[..., 3:], quaternion[..., :3]], dim=-1)
    turned = quaternion_product(matrix_to_quaternion(camera_rotation)[:, :, None, None], local)
    turned = F.normalize(turned, dim=-1)
    return torch.where(turned[..., 3:] < 0, -turned, turned)
