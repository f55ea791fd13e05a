"""The paths of cameras in rendered videos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depth_anything_3.export.camera_path import Trajectory, TrjMode, interpolate_pose, make_trajectory

WIDTH = 100
KN = np.array([[1.2, 0, 0.5], [0, 1.6, 0.5], [0, 0, 1]])


def rotation_of(vector) -> np.ndarray:
    """Rodrigues' rotation of an axis times an angle."""
    vector = np.asarray(vector, np.float64)
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def looking_at(centre, target) -> np.ndarray:
    """A level camera-to-world pose."""
    z = np.asarray(target, np.float64) - centre
    z /= np.linalg.norm(z)
    x = np.cross([0, 1, 0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3] = np.column_stack([x, np.cross(z, x), z, centre])
    return pose


def ring(count: int, radius: float = 3.0) -> Trajectory:
    """Cameras on an arc that all look at one point."""
    angles = np.linspace(-0.6, 0.6, count)
    centres = [(radius * np.sin(a), 0.0, 5 - radius * np.cos(a)) for a in angles]
    return Trajectory(np.array([looking_at(np.array(c), (0, 0, 5.0)) for c in centres]), np.tile(KN, (count, 1, 1)))


def check_rotations(poses: np.ndarray) -> None:
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (len(poses), 1, 1)), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-9)
    np.testing.assert_array_equal(poses[:, 3], np.tile([0, 0, 0, 1], (len(poses), 1)))


LENGTHS = [
    pytest.param("original", 5, 5, id="original"),
    pytest.param("smooth", 5, 5, id="smooth"),
    pytest.param("interpolate", 2, 48, id="interpolate-one-gap"),
    pytest.param("interpolate", 5, 4 * 12 - 3, id="interpolate-few"),
    pytest.param("interpolate", 7, 6 * 8 - 5, id="interpolate-48"),
    pytest.param("interpolate", 55, 54 * 8 - 53, id="interpolate-432"),
    pytest.param("interpolate", 61, 60 * 4 - 59, id="interpolate-many"),
    pytest.param("interpolate", 121, 121, id="interpolate-too-many"),
    pytest.param("interpolate_smooth", 5, 45, id="interpolate_smooth"),
    pytest.param("extend", 5, 45 + (36 + 2) + 36, id="extend"),
    pytest.param("extend", 55, 379 + (60 + 2) + 60, id="extend-many"),
    pytest.param("wander", 3, 122, id="wander"),
    pytest.param("wander", 1, 122, id="wander-one-view"),
    pytest.param("dolly_zoom", 3, 120, id="dolly_zoom"),
    pytest.param("wobble_inter", 2, 30, id="wobble-two"),
    pytest.param("wobble_inter", 7, 60, id="wobble-seven"),
]


@pytest.mark.parametrize(("mode", "views", "frames"), LENGTHS)
def test_every_mode_gives_rigid_cameras_in_the_number_upstream_has(mode, views, frames):
    path = make_trajectory(ring(views), TrjMode(mode), WIDTH)
    assert len(path.camera_to_world) == len(path.intrinsics) == frames
    check_rotations(path.camera_to_world)


def test_interpolation_meets_every_view_and_is_slow_there():
    views = ring(7)
    path = make_trajectory(views, TrjMode.INTERPOLATE, WIDTH)
    at_views = path.camera_to_world[[7 * view for view in range(7)]]
    np.testing.assert_allclose(at_views, views.camera_to_world, atol=1e-9)
    steps = np.linalg.norm(np.diff(path.camera_to_world[:8, :3, 3], axis=0), axis=1)
    assert steps[3] > 3 * steps[0]


def test_between_cameras_that_look_at_one_point_the_path_is_an_arc():
    first, second = ring(2).camera_to_world
    poses = interpolate_pose(first, second, np.linspace(0, 1, 9))
    centres = poses[:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(centres - [0, 0, 5], axis=1), 3, atol=1e-9)
    gaze = np.array([0, 0, 5]) - centres
    np.testing.assert_allclose(poses[:, :3, 2], gaze / 3, atol=1e-9)
    turns = np.arctan2(centres[:, 0], 5 - centres[:, 2])
    np.testing.assert_allclose(np.diff(turns), 1.2 / 8, atol=1e-9)


VECTOR = st.lists(st.floats(-2, 2), min_size=3, max_size=3)


@given(VECTOR, VECTOR, VECTOR, VECTOR)
def test_the_ends_of_an_interpolation_are_the_views(turn_a, turn_b, centre_a, centre_b):
    ends = np.tile(np.eye(4), (2, 1, 1))
    ends[0, :3], ends[1, :3] = (
        np.column_stack([rotation_of(turn), centre]) for turn, centre in ((turn_a, centre_a), (turn_b, centre_b))
    )
    poses = interpolate_pose(*ends, np.array([0.0, 0.5, 1.0]))
    check_rotations(poses)
    # Directions within a hair of parallel are taken as parallel, which leaves an angle of up to 0.015 out.
    np.testing.assert_allclose(poses[[0, 2], :3, :3], ends[:, :3, :3], atol=0.02)
    angle = abs(ends[0, :3, 2] @ ends[1, :3, 2])
    if angle < 1 - 2e-4:
        np.testing.assert_allclose(poses[[0, 2]], ends, atol=1e-6)


@pytest.mark.parametrize("turn", [(0, 0, 0), (np.pi / 2, 0, 0), (0, np.pi / 2, 0), (0, 0, 1.0)])
def test_cameras_of_one_direction_move_on_a_line(turn):
    ends = np.tile(np.eye(4), (2, 1, 1))
    ends[:, :3, :3] = rotation_of(turn)
    ends[1, :3, 3] = [1, 2, 3]
    poses = interpolate_pose(*ends, np.linspace(0, 1, 5))
    np.testing.assert_allclose(poses[:, :3, 3], np.linspace([0, 0, 0], [1, 2, 3], 5), atol=1e-9)
    np.testing.assert_allclose(poses[:, :3, :3], np.tile(rotation_of(turn), (5, 1, 1)), atol=1e-9)


def test_angles_are_interpolated_along_the_shorter_arc():
    ends = np.stack([looking_at(np.zeros(3), (np.sin(a), 0, np.cos(a))) for a in (3.0, -3.0)])
    halfway = interpolate_pose(*ends, np.array([0.5]))[0]
    np.testing.assert_allclose(halfway[:3, 2], [0, 0, -1], atol=1e-9)


def test_intrinsics_are_interpolated_linearly():
    views = ring(2)
    views.intrinsics[1, 0, 0] = 2.4
    path = make_trajectory(views, TrjMode.INTERPOLATE, WIDTH)
    assert path.intrinsics[0, 0, 0] == pytest.approx(1.2)
    assert path.intrinsics[-1, 0, 0] == pytest.approx(2.4)
    assert (np.diff(path.intrinsics[:, 0, 0]) > 0).all()


def test_a_wander_circles_the_base_camera_by_the_set_pixels():
    views = ring(3)
    path = make_trajectory(views, TrjMode.WANDER, WIDTH).camera_to_world
    base = views.camera_to_world[0]
    np.testing.assert_array_equal(path[[0, -1]], [base, base])
    np.testing.assert_array_equal(path[:, :3, :3], np.tile(base[:3, :3], (122, 1, 1)))
    local = (path[1:-1, :3, 3] - base[:3, 3]) @ base[:3, :3]
    radius = 24 / 120  # 120 pixels of focal length
    np.testing.assert_allclose(local[0], [0, -radius / 3, -radius / 3], atol=1e-12)
    assert np.abs(local[:, 0]).max() == pytest.approx(radius, rel=1e-3)
    np.testing.assert_allclose(local[0], local[-1], atol=1e-12)


def test_a_dolly_zoom_moves_back_while_the_focal_length_changes():
    views = ring(3)
    path = make_trajectory(views, TrjMode.DOLLY_ZOOM, WIDTH)
    base = views.camera_to_world[0]
    local = (path.camera_to_world[:, :3, 3] - base[:3, 3]) @ base[:3, :3]
    assert local[:, 2].min() == pytest.approx(-2, abs=1e-3)
    np.testing.assert_allclose(local[[0, -1]], 0, atol=1e-12)
    np.testing.assert_allclose(path.intrinsics[:, 0, 0], 1.2 * 30 / (30 - local[:, 2]), rtol=1e-9)
    np.testing.assert_allclose(path.intrinsics[:, 1, 1], 1.6 * 30 / (30 - local[:, 2]), rtol=1e-9)
    np.testing.assert_array_equal(path.intrinsics[:, :2, 2], 0.5)


def test_smoothing_leaves_a_straight_path_alone_and_calms_a_shaky_one():
    count = 60
    straight = Trajectory(np.tile(np.eye(4), (count, 1, 1)), np.tile(KN, (count, 1, 1)))
    np.testing.assert_allclose(
        make_trajectory(straight, TrjMode.SMOOTH, WIDTH).camera_to_world, straight.camera_to_world
    )
    rng = np.random.default_rng(0)
    for pose in straight.camera_to_world:
        pose[:3] = np.column_stack([rotation_of(0.05 * rng.normal(size=3)), 0.1 * rng.normal(size=3)])
    smooth = make_trajectory(straight, TrjMode.SMOOTH, WIDTH).camera_to_world

    def shake(poses):
        return np.abs(np.diff(poses, axis=0)).mean()

    assert shake(smooth) < 0.1 * shake(straight.camera_to_world)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_frames_are_not_smoothed(count):
    views = ring(count)
    np.testing.assert_array_equal(make_trajectory(views, TrjMode.SMOOTH, WIDTH).camera_to_world, views.camera_to_world)


def test_a_wobble_circles_at_half_the_distance_of_the_views():
    views = Trajectory(np.tile(np.eye(4), (2, 1, 1)), np.tile(KN, (2, 1, 1)))
    views.camera_to_world[1, 0, 3] = 2
    path = make_trajectory(views, TrjMode.WOBBLE_INTER, WIDTH).camera_to_world
    line = np.linspace([0, 0, 0], [2, 0, 0], 30)
    np.testing.assert_allclose(np.linalg.norm(path[:, :3, 3] - line, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(path[0, :3, 3], [0, -1, 0], atol=1e-9)
