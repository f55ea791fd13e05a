"""Rigid geometry: identities that hold for every rotation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from depth_anything_3.model.camera import decode_pose, encode_pose
from depth_anything_3.model.geometry import matrix_to_quaternion, quaternion_to_matrix, rigid_inverse

components = st.lists(st.floats(-1, 1), min_size=4, max_size=4)


@settings(deadline=None)
@given(components)
def test_quaternion_survives_the_matrix_up_to_sign_and_length(values):
    quaternion = torch.tensor(values, dtype=torch.float64)
    assume(quaternion.norm() > 1e-3)
    expected = quaternion / quaternion.norm()
    actual = matrix_to_quaternion(quaternion_to_matrix(quaternion))
    assert actual[3] >= 0
    torch.testing.assert_close(actual * (actual @ expected).sign(), expected, atol=1e-9, rtol=0)


@settings(deadline=None)
@given(components)
def test_quaternion_matrix_is_a_rotation(values):
    quaternion = torch.tensor(values, dtype=torch.float64)
    assume(quaternion.norm() > 1e-3)
    matrix = quaternion_to_matrix(quaternion)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64))
    assert matrix.det() > 0


@pytest.mark.parametrize("rows", [3, 4])
def test_rigid_inverse_keeps_the_number_of_rows_and_undoes_the_pose(rows):
    rotation = quaternion_to_matrix(torch.tensor([0.1, -0.4, 0.2, 0.9]))
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, torch.tensor([1.0, -2.0, 3.0])
    inverse = rigid_inverse(pose[:rows])
    assert inverse.shape == (rows, 4)
    whole = torch.cat([inverse, pose[rows:]])
    torch.testing.assert_close(whole @ pose, torch.eye(4), atol=1e-6, rtol=0)


def test_pose_encoding_round_trip_centres_the_principal_point():
    pose = torch.eye(3, 4)
    pose[:, 3] = torch.tensor([0.5, -1.0, 2.0])
    intrinsics = torch.tensor([[90.0, 0.0, 40.0], [0.0, 80.0, 30.0], [0.0, 0.0, 1.0]])
    decoded, decoded_intrinsics = decode_pose(encode_pose(pose, intrinsics, (56, 70)), (56, 70))
    torch.testing.assert_close(decoded, pose)
    expected = torch.tensor([[90.0, 0.0, 35.0], [0.0, 80.0, 28.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(decoded_intrinsics, expected)
