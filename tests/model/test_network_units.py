"""The network's small parts against the authors' implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.model import RefViewStrategy
from depth_anything_3.model.camera import decode_pose, encode_pose
from depth_anything_3.model.geometry import matrix_to_quaternion, quaternion_to_matrix, rigid_inverse
from depth_anything_3.model.position_table import interpolate_position_table
from depth_anything_3.model.ray_pose import draw_samples, fit_homography, pose_from_rays, ql_decomposition
from depth_anything_3.model.reference_view import order_from_reference, select_reference_view, take_views
from depth_anything_3.model.rope import apply_rotary, rotary_table
from depth_anything_3.model.uv_embedding import sinusoids, uv_axes
from support.goldens import unit_case
from support.model_golden import UNIT_TOLERANCE, scaled_error


def children(arrays, parent):
    """Names directly below a parent, in order."""
    return sorted({key.split("/")[1] for key in arrays if key.startswith(f"{parent}/")})


def close(actual, golden):
    return scaled_error(actual.numpy(), golden) <= UNIT_TOLERANCE


def test_position_table_is_resampled_by_scale_factor():
    arrays = unit_case("units_backbone")
    table = torch.from_numpy(arrays["pos_interp/table"])
    sizes = [name for name in children(arrays, "pos_interp") if name != "table"]
    assert len(sizes) == 6
    for name in sizes:
        height, width = map(int, name.split("x"))
        actual = interpolate_position_table(table, height // 14, width // 14)
        assert close(actual, arrays[f"pos_interp/{name}"]), name


def test_rotary_embedding_turns_contiguous_halves():
    arrays = unit_case("units_backbone")
    tokens, positions = (torch.from_numpy(arrays[f"rope/{key}"]) for key in ("tokens", "positions"))
    actual = [apply_rotary(x, rotary_table(p, 64)) for x, p in zip(tokens, positions, strict=True)]
    assert close(torch.stack(actual), arrays["rope/rotated"])


@pytest.mark.parametrize("strategy", list(RefViewStrategy))
def test_reference_view_is_selected_and_put_first(strategy):
    arrays = unit_case("units_backbone")
    tokens = torch.from_numpy(arrays["refview/tokens"])
    index = select_reference_view(tokens[:, :, 0], strategy)
    assert np.array_equal(index.numpy(), arrays[f"refview/{strategy.value}/index"])
    reordered = take_views(tokens, order_from_reference(index, tokens.shape[1]))
    golden = arrays[f"refview/{strategy.value}/reordered_first_channel"]
    assert np.array_equal(reordered[:, :, 0, 0].numpy(), golden)


def test_uv_embedding_spans_the_image():
    arrays = unit_case("units_heads")
    names = children(arrays, "uv")
    assert len(names) == 4
    for name in names:
        (cols, rows), (width, height) = (map(int, part.split("x")) for part in name.split("_img"))
        u, v = uv_axes(rows, cols, width / height)
        grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
        assert np.abs(grid.numpy() - arrays[f"uv/{name}/grid"]).max() <= UNIT_TOLERANCE, name
        (key,) = (key for key in arrays if key.startswith(f"uv/{name}/embed_c"))
        half = int(key.rpartition("_c")[2]) // 2
        embedding = torch.cat(
            [sinusoids(u, half).expand(rows, -1, -1), sinusoids(v, half).unsqueeze(1).expand(-1, cols, -1)],
            dim=-1,
        )
        assert close(embedding, arrays[key]), name


def test_quaternions_follow_the_xyzw_convention():
    arrays = unit_case("units_pose")
    assert close(matrix_to_quaternion(torch.from_numpy(arrays["quat/matrix"])), arrays["quat/from_matrix_xyzw"])
    assert close(quaternion_to_matrix(torch.from_numpy(arrays["quat/xyzw"])), arrays["quat/to_matrix"])


def test_pose_encoding_is_camera_to_world_with_height_first():
    arrays = unit_case("units_pose")
    size = tuple(int(side) for side in arrays["enc/image_hw"])
    c2w, intrinsics = (torch.from_numpy(arrays[f"enc/{key}"]) for key in ("c2w", "intrinsics"))
    assert close(encode_pose(c2w, intrinsics, size), arrays["enc/pose_encoding"])


def test_pose_decoding_survives_degenerate_angles():
    arrays = unit_case("units_pose")
    size = tuple(int(side) for side in arrays["enc/image_hw"])
    c2w, intrinsics = decode_pose(torch.from_numpy(arrays["dec/pose_encoding"]), size)
    assert close(c2w, arrays["dec/c2w_3x4"])
    assert close(rigid_inverse(c2w), arrays["dec/w2c_3x4"])
    # Entry by entry: the degenerate ones are a million times the others and would hide them.
    np.testing.assert_allclose(intrinsics.numpy(), arrays["dec/intrinsics"], rtol=UNIT_TOLERANCE)


def test_homography_and_ql_decomposition():
    arrays = unit_case("units_ray")
    source, target, weight = (torch.from_numpy(arrays[f"dlt/{key}"]) for key in ("src", "dst", "weight"))
    assert close(fit_homography(source, target, weight), arrays["dlt/H"])
    orthogonal, lower = ql_decomposition(torch.from_numpy(arrays["ql/A"]))
    assert close(orthogonal, arrays["ql/Q"])
    assert close(lower, arrays["ql/L"])


@pytest.mark.parametrize("name", ["clean", "noisy", "large"])
def test_cameras_are_recovered_from_rays(name):
    arrays = unit_case("units_ray")
    samples = draw_samples(int(arrays[f"{name}/n_sample"]), torch.Generator().manual_seed(0))
    assert np.array_equal(samples.numpy(), arrays[f"{name}/sample_positions"])
    ray, confidence = (torch.from_numpy(arrays[f"{name}/{key}"]) for key in ("ray", "ray_conf"))
    pose = pose_from_rays(ray, confidence, generator=torch.Generator().manual_seed(0))
    assert close(pose.camera_to_world, arrays[f"{name}/c2w"][..., :3, :])
    assert close(pose.focal, arrays[f"{name}/focal"])
    assert close(pose.principal, arrays[f"{name}/principal"])
