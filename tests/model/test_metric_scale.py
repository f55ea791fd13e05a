"""Sky filling and metric alignment: the authors' numbers, and scenes that do not depend on one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.model.metric_scale import align_to_metric, canonical_to_metric, fill_sky, masked_percentile
from support.goldens import unit_case
from support.model_golden import UNIT_TOLERANCE, scaled_error


def close(actual, golden):
    return scaled_error(actual.numpy(), golden) <= UNIT_TOLERANCE


@pytest.mark.parametrize("name", ["mixed", "few_sky", "few_ground", "no_sky"])
def test_sky_is_filled_as_by_the_authors(name):
    arrays = unit_case("units_sky_metric")
    depth, sky = (torch.from_numpy(arrays[f"mono/{key}"]) for key in ("depth", f"{name}/sky"))
    assert close(fill_sky(depth, sky), arrays[f"mono/{name}/depth_out"])


def test_scenes_are_aligned_as_by_the_authors():
    arrays = unit_case("units_sky_metric")
    names = ("depth", "depth_conf", "extrinsics", "metric_depth", "sky", "intrinsics")
    *inputs, sky, intrinsics = (torch.from_numpy(arrays[f"nested/in/{name}"]) for name in names)
    inputs[-1] = canonical_to_metric(inputs[-1], intrinsics)
    assert close(inputs[-1], arrays["nested/metric_depth_scaled"])
    out = align_to_metric(*inputs, sky)
    assert out.is_metric.tolist() == [1]
    np.testing.assert_allclose(out.scale_factor.item(), arrays["nested/scale_factor"], rtol=UNIT_TOLERANCE)
    for key in ("depth", "depth_conf", "extrinsics"):
        assert close(getattr(out, key), arrays[f"nested/out/{key}"]), key


@given(seed=st.integers(0, 10_000), percent=st.integers(0, 100), count=st.integers(1, 400))
def test_a_percentile_of_chosen_values_is_numpys(seed, percent, count):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(3, count)).astype(np.float32)
    mask = rng.random((3, count)) < rng.random()
    found = masked_percentile(torch.from_numpy(values), torch.from_numpy(mask), percent)
    for row in range(3):
        chosen = values[row][mask[row]]
        expected = np.percentile(chosen, percent) if len(chosen) else np.nan
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("percent", [50, 99])
@pytest.mark.parametrize("count", [196, 199, 1000])
def test_a_recorded_percentile_takes_the_same_values(monkeypatch, percent, count):
    rng = np.random.default_rng(count)
    values = torch.from_numpy(rng.normal(size=(5, count)).astype(np.float32))
    mask = torch.from_numpy(rng.random((5, count)) < np.array([[1.0], [0.99], [0.5], [0.02], [0.0]]))
    expected = masked_percentile(values, mask, percent)
    monkeypatch.setattr("depth_anything_3.model.metric_scale.is_recording", lambda: True)
    found = masked_percentile(values, mask, percent)
    assert torch.equal(found[:4], expected[:4])
    assert found[4] == -torch.inf  # nothing is selected


def scenes(seed, count):
    """Random scenes, with very different shares of sky, down to no ground at all."""
    rng = np.random.default_rng(seed)
    shape = (count, 2, 5, 7)
    share = rng.choice([0, 0.1, 0.5, 0.9, 1.0], (count, 1, 1, 1))
    sky = (rng.random(shape) < share).astype(np.float32)
    depth, metric = rng.lognormal(size=(2, *shape)).astype(np.float32)
    conf = (1 + rng.random(shape)).astype(np.float32)
    poses = rng.normal(size=(count, 2, 3, 4)).astype(np.float32)
    return [torch.from_numpy(x) for x in (depth, conf, poses, metric, sky)]


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 4))
def test_a_scene_does_not_depend_on_its_batch_mates(seed, count):
    inputs = scenes(seed, count)
    depth, *_, sky = inputs
    together, filled = align_to_metric(*inputs), fill_sky(depth, sky)
    for scene in range(count):
        one = [x[scene : scene + 1] for x in inputs]
        assert torch.equal(fill_sky(one[0], one[-1]), filled[scene : scene + 1])
        for name, value in align_to_metric(*one)._asdict().items():
            torch.testing.assert_close(value, getattr(together, name)[scene : scene + 1], equal_nan=True, msg=name)


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000))
def test_too_little_ground_leaves_a_scene_as_it_was(seed):
    inputs = scenes(seed, 3)
    depth, conf, poses, _, sky = inputs
    out = align_to_metric(*inputs)
    enough = (sky < 0.3).flatten(1).sum(dim=1) > 10
    assert torch.equal(out.is_metric.bool(), enough)
    assert torch.equal(out.scale_factor.isnan(), ~enough)
    for before, after in ((depth, out.depth), (conf, out.depth_conf), (poses, out.extrinsics)):
        assert torch.equal(before[~enough], after[~enough])


@given(seed=st.integers(0, 10_000), factor=st.floats(0.01, 100))
def test_metric_depth_does_not_depend_on_the_unit_of_the_poses(seed, factor):
    depth, conf, poses, metric, _ = scenes(seed, 1)
    ground = torch.zeros_like(depth)
    one = align_to_metric(depth + 1, conf, poses, metric, ground)
    moved = torch.cat([poses[..., :3], poses[..., 3:] * factor], dim=-1)
    other = align_to_metric((depth + 1) * factor, conf, moved, metric, ground)
    torch.testing.assert_close(other.depth, one.depth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.extrinsics, one.extrinsics, rtol=1e-4, atol=1e-4)
