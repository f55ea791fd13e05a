"""Gaussians placed in the world: the authors' numbers, and what must hold for any rotation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depth_anything_3.model.gaussian_adapter import camera_scale, place_gaussians
from depth_anything_3.model.gaussian_head import RawGaussians
from depth_anything_3.model.geometry import quaternion_product, quaternion_to_matrix
from depth_anything_3.model.spherical_harmonics import harmonics_rotation
from support.goldens import unit_case
from support.model_golden import UNIT_TOLERANCE, scaled_error


@pytest.mark.parametrize(
    ("case", "given_key"),
    [("plain", None), ("gt", "gt_extrinsics"), ("gt_far", "gt_extrinsics_far"), ("gt_same", "extrinsics")],
)
def test_gaussians_are_where_the_authors_put_them(case, given_key):
    arrays = unit_case("units_gaussians")
    gaussians, index = gaussians_of(arrays, given_key)
    for key in ("means", "scales", "rotations", "harmonics", "opacities"):
        actual = getattr(gaussians, key)[:, index].numpy()
        assert scaled_error(actual, arrays[f"{case}/{key}"]) <= UNIT_TOLERANCE, key


def gaussians_of(arrays, given_key, offsets=True):
    """The Gaussians of a unit file, and which of them are as in the file: only some pixels are stored."""
    tensors = {key: torch.from_numpy(x) for key, x in arrays.items() if x.dtype.kind != "U"}
    index, (height, width) = tensors["index"], arrays["in/image_hw"].tolist()
    shape = (1, tensors["in/extrinsics"].shape[1], height, width)
    raw, density, depth = (torch.ones(1, math.prod(shape), *more) for more in ((37,), (), ()))
    raw[:, index], density[:, index] = tensors["in/raw_picked"], tensors["in/density_picked"]
    depth[:, index] = tensors["in/depth"].flatten()[index]
    if not offsets:
        raw[..., :2] = 0
    gaussians = place_gaussians(
        RawGaussians(raw.view(*shape, 37), density.view(shape)),
        depth.view(shape),
        tensors["in/extrinsics"][:, :, :3],
        tensors["in/intrinsics"],
        given_extrinsics=None if given_key is None else tensors[f"in/{given_key}"],
    )
    return gaussians, index


@pytest.mark.parametrize("given_key", [None, "gt_extrinsics", "gt_extrinsics_far"])
def test_the_cameras_of_the_gaussians_see_each_at_its_pixel(given_key):
    arrays = unit_case("units_gaussians")
    gaussians, _ = gaussians_of(arrays, given_key, offsets=False)
    views, (height, width) = gaussians.extrinsics.shape[1], arrays["in/image_hw"].tolist()
    places = gaussians.means.view(views, height, width, 3)
    rotation, translation = gaussians.extrinsics[0, ..., :3], gaussians.extrinsics[0, ..., 3]
    seen = torch.einsum("vij,vhwj->vhwi", rotation, places) + translation[:, None, None]
    seen = torch.einsum("vij,vhwj->vhwi", gaussians.intrinsics[0], seen)
    cols, rows = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    expected = torch.stack([cols, rows], dim=-1).expand(views, -1, -1, -1)
    torch.testing.assert_close(seen[..., :2] / seen[..., 2:], expected, rtol=0, atol=1e-2)
    one = gaussians.scene(0)
    assert torch.equal(one.extrinsics, gaussians.extrinsics)
    moved = (gaussians.extrinsics[..., 3] / torch.from_numpy(arrays["in/extrinsics"])[..., :3, 3]).unique()
    factor = float(moved.mean())
    assert moved.min() > 0.999 * factor
    assert (factor == 1) == (given_key is None)
    assert 1 / 3 - 1e-6 <= factor <= 3 + 1e-6


def test_harmonics_turn_as_the_authors():
    arrays = unit_case("units_gaussians")
    found = harmonics_rotation(torch.from_numpy(arrays["sh/R"]).float())
    assert scaled_error(found.numpy(), arrays["sh/D9x9"]) <= UNIT_TOLERANCE


def basis(v):
    """The nine functions at directions `(n, 3)`."""
    x, y, z = v.T
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            *(0.4886025119029199 * one for one in (-y, z, -x)),
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ],
        dim=-1,
    )


def random_rotation(seed):
    return quaternion_to_matrix(torch.from_numpy(np.random.default_rng(seed).normal(size=4)))


@given(seed=st.integers(0, 10_000))
def test_turned_coefficients_give_the_turned_function(seed):
    rotation = random_rotation(seed)
    directions = torch.nn.functional.normalize(
        torch.from_numpy(np.random.default_rng(seed + 1).normal(size=(20, 3))), dim=-1
    )
    turned = basis(directions) @ harmonics_rotation(rotation).T
    torch.testing.assert_close(basis(directions @ rotation.T), turned)


@given(first=st.integers(0, 10_000), second=st.integers(0, 10_000))
def test_a_product_of_quaternions_is_one_rotation_after_the_other(first, second):
    a, b = (torch.from_numpy(np.random.default_rng(seed).normal(size=4)) for seed in (first, second))
    together = quaternion_to_matrix(quaternion_product(a, b))
    torch.testing.assert_close(together, quaternion_to_matrix(a) @ quaternion_to_matrix(b))


@given(seed=st.integers(0, 10_000), scale=st.floats(0.34, 2.9))
def test_the_scale_of_given_poses_is_found(seed, scale):
    centres = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 5, 3)))
    moved = scale * centres @ random_rotation(seed).T + 1
    torch.testing.assert_close(camera_scale(centres, moved), torch.tensor([scale]), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        pytest.param([[0, 0, 0], [1, 0, 0], [2, 0, 0]], 1.0, id="on-a-line"),
        pytest.param([[0, 0, 0]] * 3, 1.0, id="one-place"),
        pytest.param([[np.nan, 0, 0], [1, 0, 0], [0, 1, 0]], 1.0, id="undefined"),
        pytest.param([[0, 0, 0], [100, 0, 0], [0, 100, 0]], 1 / 3, id="far-too-large"),
    ],
)
def test_the_scale_of_given_poses_stays_within_bounds(predicted, expected):
    given_centres = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    found = camera_scale(torch.tensor([predicted], dtype=torch.float32), given_centres)
    torch.testing.assert_close(found, torch.tensor([expected]))
