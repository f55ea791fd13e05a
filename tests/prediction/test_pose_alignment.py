"""Poses given by the caller against poses predicted: normalised for the network, aligned for the result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.prediction.pose_alignment import align_poses, fit_similarity, normalize_extrinsics, rigid_inverse
from support.goldens import unit_case
from support.seeded_values import seeded_cameras

UNIT_TOLERANCE = 3e-5  # scaled error; the authors' implementation differs from itself in float64 by up to 8e-6

seeds = st.integers(0, 10_000)
scales = st.floats(0.01, 100.0)


def poses_at(centres, seed=0):
    """World-to-camera poses (N, 4, 4) at these centres, each turned its own way."""
    turned = seeded_cameras(len(centres), 10, 10, seed)[0].astype(np.float64)
    rotation = np.linalg.qr(turned[:, :3, :3])[0]
    rotation *= np.linalg.det(rotation)[:, None, None]
    poses = np.tile(np.eye(4), (len(centres), 1, 1))
    poses[:, :3, :3] = rotation
    poses[:, :3, 3] = -np.einsum("nij,nj->ni", rotation, centres)
    return poses


def centres_of(poses):
    return rigid_inverse(np.asarray(poses, np.float64))[:, :3, 3]


def moved_world(poses, scale, seed):
    """The same cameras after the world was scaled, turned and shifted; and the turn and shift."""
    rng = np.random.default_rng(seed)
    rotation = poses_at(rng.normal(size=(1, 3)), seed + 1)[0, :3, :3]
    shift = rng.normal(size=3)
    moved = poses.copy()
    moved[:, :3, :3] = poses[:, :3, :3] @ rotation.T
    centres = scale * centres_of(poses) @ rotation.T + shift
    moved[:, :3, 3] = -np.einsum("nij,nj->ni", moved[:, :3, :3], centres)
    return moved, rotation, shift


def assert_scaled_close(actual, golden, tolerance=UNIT_TOLERANCE):
    assert np.shape(actual) == np.shape(golden)
    np.testing.assert_allclose(actual, golden, rtol=0, atol=tolerance * np.abs(golden).max())


# Against the authors' implementation


@pytest.fixture(scope="module")
def goldens():
    return unit_case("units_align")


@pytest.mark.parametrize("views", [1, 2, 3, 4, 7])
def test_normalised_poses_agree_with_the_goldens(goldens, views):
    actual = normalize_extrinsics(goldens[f"normalise/v{views}/in"])
    assert actual.dtype == np.float32
    assert_scaled_close(actual, goldens[f"normalise/v{views}/out"])


@pytest.mark.parametrize("views", [4, 9, pytest.param(10, id="10-ransac"), pytest.param(15, id="15-ransac")])
def test_similarity_agrees_with_the_goldens(goldens, views):
    case = {key.removeprefix(f"umeyama/v{views}/"): value for key, value in goldens.items() if f"/v{views}/" in key}
    predicted = np.tile(np.eye(4), (views, 1, 1))
    predicted[:, :3] = case["predicted_w2c_3x4"]
    similarity = fit_similarity(case["given_w2c"], predicted)
    assert_scaled_close(similarity.rotation, case["R"])
    assert_scaled_close(similarity.translation, case["t"])
    assert_scaled_close(similarity.scale, case["scale"])
    for to_given in (True, False):
        extrinsics, divisor = align_poses(case["given_w2c"], case["predicted_w2c_3x4"], to_given=to_given)
        assert_scaled_close(extrinsics, case[f"align_{to_given}/extrinsics"])
        assert_scaled_close(1 / divisor, case[f"align_{to_given}/depth_ratio"])


# Normalisation


def test_normalised_poses_start_at_the_origin_with_median_distance_one():
    normalised = normalize_extrinsics(poses_at(np.random.default_rng(0).normal(0, 50, (5, 3))))
    np.testing.assert_allclose(normalised[0], np.eye(4), atol=1e-5)
    assert np.sort(np.linalg.norm(centres_of(normalised), axis=1))[2] == pytest.approx(1, abs=1e-5)


@given(seed=seeds, scale=st.floats(1, 100))
@settings(max_examples=25, deadline=None)
def test_poses_of_the_network_do_not_depend_on_unit_and_origin(seed, scale):
    poses = poses_at(np.random.default_rng(seed).normal(size=(5, 3)), seed)
    np.testing.assert_allclose(
        normalize_extrinsics(moved_world(poses, scale, seed)[0]), normalize_extrinsics(poses), atol=2e-4
    )


# Exact similarities are found


@given(seed=seeds, scale=scales, views=st.integers(3, 14))
@settings(max_examples=60, deadline=None)
def test_an_exact_similarity_is_recovered(seed, scale, views):
    poses = poses_at(np.random.default_rng(seed).normal(size=(views, 3)), seed)
    target, rotation, shift = moved_world(poses, scale, seed)
    similarity = fit_similarity(poses, target)
    assert similarity.scale == pytest.approx(scale, rel=1e-6)
    np.testing.assert_allclose(similarity.rotation, rotation, atol=1e-6)
    np.testing.assert_allclose(similarity.translation, shift, atol=1e-6 * (1 + scale))
    np.testing.assert_allclose(similarity.move_poses(rigid_inverse(poses)), rigid_inverse(target), atol=1e-5 * scale)


LINE = np.outer(np.arange(5) * 0.7, [1.0, 2.0, -0.5])


@pytest.mark.parametrize(
    "centres",
    [
        pytest.param(np.array([[0, 0, 0], [2.0, 1, 0]]), id="two-views"),
        pytest.param(LINE, id="on-a-line"),
        pytest.param(LINE.astype(np.float32) + np.float32(100), id="on-a-line-as-float32-far-from-the-origin"),
        pytest.param(np.repeat(LINE, 3, axis=0), id="on-a-line-with-ransac"),
    ],
)
def test_centres_on_a_line_are_aligned_by_the_cameras_orientations(centres):
    poses = poses_at(centres).astype(np.float32)
    target, rotation, _shift = moved_world(poses.astype(np.float64), 3.0, seed=5)
    similarity = fit_similarity(poses, target)
    assert similarity.scale == pytest.approx(3.0, rel=1e-3)
    np.testing.assert_allclose(similarity.rotation, rotation, atol=1e-3)
    np.testing.assert_allclose(similarity.move_points(centres), centres_of(target), atol=1e-2)


def test_poses_in_map_coordinates_lose_nothing():
    near = poses_at(np.random.default_rng(2).normal(size=(5, 3)))
    far = poses_at(centres_of(near) + np.array([500_000, 4_000_000, 100]))
    predicted = moved_world(near, 0.3, seed=3)[0][:, :3]
    np.testing.assert_allclose(normalize_extrinsics(far), normalize_extrinsics(near), atol=1e-6)
    for to_given in (True, False):
        far_aligned, far_divisor = align_poses(far, predicted, to_given=to_given)
        near_aligned, near_divisor = align_poses(near, predicted, to_given=to_given)
        assert far_divisor == pytest.approx(near_divisor)
    np.testing.assert_allclose(far_aligned, near_aligned, atol=1e-6)


@pytest.mark.parametrize(
    "centres",
    [
        pytest.param(np.array([[3.0, 1, 2]]), id="one-view"),
        pytest.param(np.zeros((4, 3)), id="turning-at-the-origin"),
        pytest.param(np.full((4, 3), 7.3), id="turning-away-from-the-origin"),
    ],
)
def test_without_a_baseline_depth_keeps_its_unit(centres):
    given_w2c = poses_at(centres).astype(np.float32)
    predicted = poses_at(np.random.default_rng(1).normal(0, 0.1, (len(centres), 3)))
    extrinsics, divisor = align_poses(given_w2c, predicted[:, :3], to_given=True)
    assert divisor == 1.0
    np.testing.assert_array_equal(extrinsics, given_w2c[:, :3])


def test_a_mirrored_world_is_not_taken_for_a_turned_one():
    poses = poses_at(np.random.default_rng(3).normal(size=(6, 3)))
    mirrored = poses_at(centres_of(poses) * [1, 1, -1])
    assert np.linalg.det(fit_similarity(poses, mirrored).rotation) == pytest.approx(1)


# Views that do not fit


@pytest.mark.parametrize("seed", range(5))  # fixed, since ten rounds of RANSAC miss about one case in a hundred
def test_from_ten_views_on_two_stray_ones_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    poses = poses_at(rng.normal(size=(14, 3)), seed)
    target, rotation, _shift = moved_world(poses, 2.0, seed)
    strays = rng.choice(14, 2, replace=False)
    target[strays, :3, 3] += rng.normal(0, 30, (2, 3))
    similarity = fit_similarity(poses, target)
    errors = np.linalg.norm(similarity.move_points(centres_of(poses)) - centres_of(target), axis=1)
    assert np.median(errors) < 0.2
    assert similarity.scale == pytest.approx(2.0, rel=0.2)
    assert np.trace(similarity.rotation.T @ rotation) > 2.9


def test_a_view_predicted_as_nan_is_excluded_from_the_fit():
    poses = poses_at(np.random.default_rng(0).normal(size=(5, 3)))
    target, _rotation, _shift = moved_world(poses, 4.0, seed=1)
    complete, _ = align_poses(poses, target[:, :3], to_given=False)
    target[2] = np.nan
    extrinsics, divisor = align_poses(poses, target[:, :3], to_given=True)
    assert divisor == pytest.approx(4.0)
    np.testing.assert_allclose(extrinsics, poses[:, :3], rtol=1e-6)
    moved, divisor = align_poses(poses, target[:, :3], to_given=False)
    assert divisor == 1.0
    np.testing.assert_allclose(moved, complete, atol=1e-5)


def test_when_every_view_is_predicted_as_nan_the_given_poses_are_returned():
    poses = poses_at(np.random.default_rng(0).normal(size=(3, 3)))
    for to_given, expected in ((True, poses[:, :3]), (False, poses)):
        extrinsics, divisor = align_poses(poses, np.full((3, 3, 4), np.nan), to_given=to_given)
        assert divisor == 1.0
        np.testing.assert_allclose(extrinsics, expected, atol=1e-6)
