"""Compute camera poses and focal lengths from ray maps.

The intersections of a camera's rays with a plane are a homography of a normalised image. It is found by RANSAC and
split into rotation and intrinsics by a QL decomposition (DA3, Lin et al., 2025). Projections run on the device of the
rays; small linear algebra and random draws run on the CPU in float64, so that results are equal on all devices.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "RayPose",
    "cameras_from_rays",
    "draw_samples",
    "fit_homography",
    "pose_from_rays",
    "ql_decomposition",
]

_HYPOTHESES = 100
_SAMPLE_SIZE = 8
_CANDIDATE_SHARE = 0.3
_INLIER_DISTANCE = 0.2  # in the normalised image, whose side is 2
_MIN_DEPTH = 1e-4  # of a direction that is projected
_MIN_REFIT = 4  # point pairs that determine a homography
_MAX_REFIT = 8000
_REFIT_SHARE = 0.95


class RayPose(NamedTuple):
    """Cameras of a normalised image that spans `[0, 2] x [0, 2]`.

    Attributes:
        camera_to_world: `(B, S, 3, 4)` float32.
        focal: `(B, S, 2)` horizontal and vertical focal length.
        principal: `(B, S, 2)` principal point; (1, 1) is the image centre.
    """

    camera_to_world: Tensor
    focal: Tensor
    principal: Tensor


def cameras_from_rays(
    ray: Tensor, confidence: Tensor, image_size: tuple[int, int], *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Compute cameras from rays, with intrinsics in pixels.

    Args:
        ray: See :func:`pose_from_rays`.
        confidence: See :func:`pose_from_rays`.
        image_size: (height, width) of the network's input in pixels.
        generator: See :func:`pose_from_rays`.

    Returns:
        Camera-to-world `(B, S, 3, 4)` and intrinsics `(B, S, 3, 3)`.
    """
    pose = pose_from_rays(ray, confidence, generator=generator)
    height, width = image_size
    half_size = pose.focal.new_tensor([width / 2, height / 2])
    intrinsics = torch.zeros(*pose.focal.shape[:-1], 3, 3, dtype=pose.focal.dtype, device=pose.focal.device)
    intrinsics[..., [0, 1], [0, 1]] = pose.focal * half_size
    intrinsics[..., :2, 2] = pose.principal * half_size
    intrinsics[..., 2, 2] = 1.0
    return pose.camera_to_world, intrinsics


def pose_from_rays(ray: Tensor, confidence: Tensor, *, generator: torch.Generator | None = None) -> RayPose:
    """Compute the camera of every view from its rays.

    Args:
        ray: `(B, S, h, w, 6)` float32: direction of any length, then origin, in world coordinates.
        confidence: `(B, S, h, w)`, not negative.
        generator: A CPU generator for the random samples. By default a new generator seeded with 0, so equal input
            gives equal output; upstream uses PyTorch's global generator.

    Returns:
        The cameras, on the device of the rays. Rays that are NaN or nearly parallel to the plane are ignored; a view
        with fewer than four other rays gets NaN.
    """
    batch, views, rows, cols, _ = ray.shape
    if generator is None and batch > 1:
        # A new generator for each scene, so that its poses do not depend on other scenes.
        scenes = [pose_from_rays(*scene) for scene in zip(torch.split(ray, 1), torch.split(confidence, 1), strict=True)]
        return RayPose(*(torch.cat(parts) for parts in zip(*scenes, strict=True)))
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    source = _cell_centres(rows, cols, ray.device)
    direction, origin = torch.split(ray.reshape(batch * views, rows * cols, 6).float(), 3, dim=-1)
    target, confidence = _project(direction, confidence.reshape(batch * views, rows * cols).float())

    candidates = max(_SAMPLE_SIZE, int(_CANDIDATE_SHARE * rows * cols))
    # Drawn first, and shared by all views.
    samples = draw_samples(candidates, generator)
    hypotheses = _fit_hypotheses(source, target, confidence, samples)
    homographies = torch.stack(
        [_refit(source, target[view], confidence[view], hypotheses[view], generator) for view in range(batch * views)]
    )
    rotation, lower = (x.float().to(ray.device) for x in ql_decomposition(homographies))
    lower = lower / lower[:, 2:, 2:]
    focal = lower.diagonal(dim1=-2, dim2=-1)[:, :2].reciprocal()
    principal = lower[:, 2, :2] + 1
    weight = confidence.unsqueeze(-1)
    # Masked rather than weighted by 0, because an origin may not be finite.
    weighted_origin = torch.where(weight > 0, weight * origin, 0)
    translation = weighted_origin.sum(dim=1) / weight.sum(dim=1)
    pose = torch.cat([rotation, translation.unsqueeze(-1)], dim=-1)
    return RayPose(*(torch.unflatten(x, 0, (batch, views)) for x in (pose, focal, principal)))


def draw_samples(candidates: int, generator: torch.Generator) -> Tensor:
    """Draw random samples: `(100, 8)` int64 ranks below `candidates`, distinct within a row."""
    draws = [torch.randperm(candidates, generator=generator)[:_SAMPLE_SIZE] for _ in range(_HYPOTHESES)]
    return torch.stack(draws)


def fit_homography(source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Fit a homography by a weighted direct linear transform.

    Args:
        source: `(..., K, 2)` points.
        target: `(..., K, 2)` corresponding points.
        weight: `(..., K)` weight of each pair; its square root scales the pair's two equations.

    Returns:
        `(..., 3, 3)` float64 on the CPU, last entry 1. Without four pairs in general position the result is
        arbitrary; it is NaN for fewer than four pairs and where an input is not finite.
    """
    x, y = source.cpu().double().unbind(-1)
    u, v = target.cpu().double().unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    equations = torch.cat(
        [
            torch.stack([-x, -y, -one, zero, zero, zero, x * u, y * u, u], dim=-1),
            torch.stack([zero, zero, zero, -x, -y, -one, x * v, y * v, v], dim=-1),
        ],
        dim=-2,
    )
    if source.shape[-2] < _MIN_REFIT:
        return equations.new_full((*source.shape[:-2], 3, 3), torch.nan)
    scale = torch.cat([weight, weight], dim=-1).cpu().double().unsqueeze(-1)
    # The right singular vectors of the equations are the eigenvectors of their 9x9 normal matrix, which is cheap for
    # thousands of pairs; float64 compensates for the precision lost by squaring. Eigenvalues are ascending.
    normal = equations.transpose(-1, -2) @ (equations * scale)
    finite = normal.isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
    solution = torch.linalg.eigh(torch.where(finite, normal, 0)).eigenvectors[..., 0]
    solution = torch.where(finite[..., 0], solution / solution[..., 8:], torch.nan)
    return torch.unflatten(solution, -1, (3, 3))


def ql_decomposition(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose `(..., 3, 3)` into an orthogonal matrix and a lower-triangular matrix with positive diagonal."""
    flipped_q, flipped_r = torch.linalg.qr(matrix.flip(-1))
    orthogonal, lower = flipped_q.flip(-1), flipped_r.flip(-1, -2)
    sign = lower.diagonal(dim1=-2, dim2=-1).sign()
    return orthogonal * sign.unsqueeze(-2), lower * sign.unsqueeze(-1)


def _cell_centres(rows: int, cols: int, device: torch.device) -> Tensor:
    """Return cell centres of a grid over the normalised image, relative to its centre: `(rows*cols, 2)`."""
    x = (2 * torch.arange(cols, dtype=torch.float32, device=device) + 1) / cols - 1
    y = (2 * torch.arange(rows, dtype=torch.float32, device=device) + 1) / rows - 1
    return torch.cartesian_prod(y, x).flip(-1)


def _project(direction: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Divide directions by their depth; set the confidence of NaN and of too small depths to 0."""
    depth = direction[..., 2:]
    valid = depth.abs() > _MIN_DEPTH
    target = torch.where(valid, direction[..., :2] / depth, direction[..., :2])
    return target, torch.where(valid.squeeze(-1), confidence, 0)


def _fit_hypotheses(source: Tensor, target: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
    """Fit one homography per view and sample, `(V, 100, 3, 3)` float64 on the CPU."""
    ranking = confidence.sort(dim=-1, descending=True, stable=True).indices
    cells = ranking[:, samples.to(ranking.device)]  # (V, 100, 8)
    flat = cells.flatten(1)
    sampled_target = target.gather(1, flat.unsqueeze(-1).expand(-1, -1, 2)).reshape(*cells.shape, 2)
    sampled_weight = confidence.gather(1, flat).reshape(cells.shape)
    return fit_homography(source[cells], sampled_target, sampled_weight)


def _refit(
    source: Tensor, target: Tensor, confidence: Tensor, hypotheses: Tensor, generator: torch.Generator
) -> Tensor:
    """Fit the homography of all inliers of one view's best hypothesis, with positive determinant."""
    hypotheses = hypotheses.float().to(source.device)
    inliers = _best_inliers(source, target, confidence, hypotheses).nonzero().squeeze(-1)
    if len(inliers) > _MAX_REFIT:
        ranking = confidence[inliers].sort(descending=True, stable=True).indices
        inliers = inliers[ranking[: max(int(_REFIT_SHARE * len(inliers)), _MAX_REFIT)]]
        drawn = torch.randperm(len(inliers), generator=generator)[:_MAX_REFIT]
        inliers = inliers[drawn.to(inliers.device)]
    homography = fit_homography(source[inliers], target[inliers], confidence[inliers])
    return -homography if torch.linalg.det(homography) < 0 else homography


def _best_inliers(source: Tensor, target: Tensor, confidence: Tensor, hypotheses: Tensor) -> Tensor:
    """Return the inliers of the hypothesis with the largest total confidence of inliers: `(M,)` bool."""
    x, y = source.unbind(-1)
    # Sums of products instead of a matrix product, which may use TF32, too coarse for the threshold.
    px, py, pz = (
        hypotheses[:, row, 0:1] * x + hypotheses[:, row, 1:2] * y + hypotheses[:, row, 2:3] for row in range(3)
    )
    square_distance = (px / pz - target[:, 0]) ** 2 + (py / pz - target[:, 1]) ** 2
    inlier = square_distance < _INLIER_DISTANCE**2
    scores = torch.where(inlier, confidence, 0).sum(dim=-1)
    return inlier[scores.argmax()]
