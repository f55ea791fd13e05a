"""Pose from rays: what is guaranteed beyond agreement with the goldens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.model.geometry import quaternion_to_matrix
from depth_anything_3.model.ray_pose import (
    cameras_from_rays,
    fit_homography,
    pose_from_rays,
    ql_decomposition,
)


def rays_of_camera(rows, cols, *, focal, rotation, centre):
    """Rays of a pinhole camera whose image is the square of side 2, and full confidence."""
    y, x = torch.meshgrid(
        (2 * torch.arange(rows) + 1) / rows - 1, (2 * torch.arange(cols) + 1) / cols - 1, indexing="ij"
    )
    pixels = torch.stack([x / focal[0], y / focal[1], torch.ones_like(x)], dim=-1)
    direction = pixels @ rotation.T
    ray = torch.cat([direction, centre.expand_as(direction)], dim=-1)
    return ray[None, None], torch.ones(1, 1, rows, cols)


def noisy_rays(seed=0, views=2, size=(16, 24)):
    generator = torch.Generator().manual_seed(seed)
    ray, _ = rays_of_camera(*size, focal=(1.5, 1.2), rotation=torch.eye(3), centre=torch.zeros(3))
    ray = ray.repeat(1, views, 1, 1, 1)
    ray = ray + 0.05 * torch.randn(ray.shape, generator=generator)
    return ray, 1 + torch.rand(ray.shape[:-1], generator=generator)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3),
    st.floats(0.8, 3.0),
    st.floats(0.8, 3.0),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_an_ideal_camera_is_recovered(xyz, focal_x, focal_y, centre):
    rotation, centre = quaternion_to_matrix(torch.tensor([*xyz, 1.0])), torch.tensor(centre)
    ray, confidence = rays_of_camera(8, 16, focal=(focal_x, focal_y), rotation=rotation, centre=centre)
    pose = pose_from_rays(ray, confidence)
    expected = torch.cat([rotation, centre.unsqueeze(-1)], dim=-1)
    torch.testing.assert_close(pose.camera_to_world[0, 0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pose.focal[0, 0], torch.tensor([focal_x, focal_y]), atol=0, rtol=1e-3)
    torch.testing.assert_close(pose.principal[0, 0], torch.ones(2), atol=1e-3, rtol=0)


def test_intrinsics_are_in_pixels():
    ray, confidence = rays_of_camera(8, 16, focal=(1.5, 1.2), rotation=torch.eye(3), centre=torch.zeros(3))
    _, intrinsics = cameras_from_rays(ray, confidence, (14, 28))
    expected = torch.tensor([[1.5 * 14, 0, 14], [0, 1.2 * 7, 7], [0, 0, 1]])
    torch.testing.assert_close(intrinsics[0, 0], expected, atol=1e-3, rtol=0)


def test_without_a_generator_the_result_is_that_of_seed_zero():
    torch.manual_seed(12345)
    first = pose_from_rays(*noisy_rays())
    torch.rand(3)
    second = pose_from_rays(*noisy_rays())
    seeded = pose_from_rays(*noisy_rays(), generator=torch.Generator().manual_seed(0))
    for a, b, c in zip(first, second, seeded, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    pose_from_rays(*noisy_rays())
    assert torch.equal(torch.get_rng_state(), state)


def test_another_seed_draws_other_samples():
    first = pose_from_rays(*noisy_rays(), generator=torch.Generator().manual_seed(0))
    second = pose_from_rays(*noisy_rays(), generator=torch.Generator().manual_seed(1))
    assert not torch.equal(first.focal, second.focal)


@pytest.mark.parametrize("size", [(16, 24), (100, 100)], ids=["few cells", "more than are refitted, so drawn"])
def test_scenes_of_a_batch_are_solved_alone(size):
    ray, confidence = (torch.cat(x) for x in zip(noisy_rays(1, size=size), noisy_rays(2, size=size), strict=True))
    together = pose_from_rays(ray, confidence)
    for scene in range(2):
        alone = pose_from_rays(ray[scene : scene + 1], confidence[scene : scene + 1])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[scene], b[0], atol=1e-6, rtol=1e-6)


def test_outliers_do_not_move_the_camera():
    ray, confidence = rays_of_camera(16, 16, focal=(1.5, 1.2), rotation=torch.eye(3), centre=torch.zeros(3))
    ray[:, :, ::5, ::3, :2] += 3.0
    pose = pose_from_rays(ray, confidence)
    torch.testing.assert_close(pose.focal[0, 0], torch.tensor([1.5, 1.2]), atol=1e-3, rtol=0)


def test_flat_rays_lose_their_confidence():
    ray, confidence = rays_of_camera(16, 16, focal=(1.5, 1.2), rotation=torch.eye(3), centre=torch.zeros(3))
    ray[:, :, :4, :, 2] = 1e-5
    ray[:, :, :4, :, 3:] = 100.0
    confidence[:, :, :4] = 50.0
    pose = pose_from_rays(ray, confidence)
    torch.testing.assert_close(pose.camera_to_world[0, 0], torch.eye(3, 4), atol=1e-4, rtol=0)


def test_nan_rays_lose_their_confidence():
    ray, confidence = rays_of_camera(16, 16, focal=(1.5, 1.2), rotation=torch.eye(3), centre=torch.zeros(3))
    ray[:, :, 3:5] = torch.nan
    pose = pose_from_rays(ray, confidence)
    torch.testing.assert_close(pose.camera_to_world[0, 0], torch.eye(3, 4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("depth", [0.0, torch.nan], ids=["flat", "nan"])
def test_a_view_without_usable_rays_gets_nan_and_spares_the_others(depth):
    ray, confidence = noisy_rays()
    ray[:, 1, ..., 2] = depth
    pose = pose_from_rays(ray, confidence)
    assert pose.focal[0, 1].isnan().all()
    assert pose.camera_to_world[0, 1].isnan().all()
    assert pose.camera_to_world[0, 0].isfinite().all()
    assert pose.focal[0, 0].isfinite().all()


def test_fewer_than_four_pairs_fit_nothing():
    assert fit_homography(torch.rand(3, 2), torch.rand(3, 2), torch.ones(3)).isnan().all()


def test_four_pairs_fit_exactly():
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    moved = torch.tensor([[-1.1, -0.8], [1.3, -1.2], [0.9, 1.0], [-1.0, 1.4]])
    homography = fit_homography(corners, moved, torch.ones(4)).float()
    projected = torch.cat([corners, torch.ones(4, 1)], dim=1) @ homography.T
    torch.testing.assert_close(projected[:, :2] / projected[:, 2:], moved, atol=1e-5, rtol=0)


def test_ql_factors_multiply_back():
    matrix = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    orthogonal, lower = ql_decomposition(matrix)
    torch.testing.assert_close(orthogonal @ lower, matrix)
    torch.testing.assert_close(orthogonal @ orthogonal.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    assert lower.triu(1).abs().max() < 1e-12
    assert (lower.diagonal(dim1=-2, dim2=-1) > 0).all()
