"""Properties of networks without cameras, nested networks and networks with Gaussians."""

from __future__ import annotations

import copy

import pytest
import torch

from depth_anything_3.errors import UnsupportedError
from support.model_golden import scaled_error
from support.tiny_networks import cameras, images, run


def test_views_of_a_network_without_cameras_do_not_attend_to_each_other(tiny_metric):
    x = images(1, 3)
    out = run(tiny_metric, x, use_ray_pose=True, export_feat_layers=[2])
    assert {key: tuple(value.shape) for key, value in out.items() if key != "aux"} == {
        "depth": (1, 3, 42, 56),
        "sky": (1, 3, 42, 56),
    }
    alone = run(tiny_metric, x[:, 1:2])
    assert scaled_error(out["sky"][:, 1:2].numpy(), alone["sky"].numpy()) <= 2e-5


@pytest.mark.parametrize("options", [{}, {"infer_gs": True, "use_ray_pose": True}], ids=["plain", "all"])
def test_nested_scenes_of_a_batch_do_not_see_each_other(tiny_nested, options):
    x = images(2, 2)
    together = run(tiny_nested, x, **options)
    assert together["is_metric"].shape == together["scale_factor"].shape == (2,)
    for scene in range(2):
        alone = run(tiny_nested, x[scene : scene + 1], **options)
        assert torch.equal(together["is_metric"][scene : scene + 1], alone["is_metric"])
        for key in ("depth", "depth_conf", "scale_factor", "extrinsics"):
            error = scaled_error(together[key][scene : scene + 1].numpy(), alone[key].numpy())
            assert error <= (1e-3 if options else 5e-5), key


def test_a_scene_of_nothing_but_sky_keeps_its_own_unit(tiny_nested):
    x, net = images(1, 2), copy.deepcopy(tiny_nested)
    with torch.no_grad():
        net.da3_metric.head.scratch.sky_output_conv2[2].bias.fill_(100)
    plain, out = run(net.da3, x), run(net, x)
    assert out["is_metric"].tolist() == [0]
    assert out["scale_factor"].isnan().all()
    for key in ("depth", "depth_conf", "extrinsics"):
        assert torch.equal(out[key], plain[key]), key


def test_gaussians_come_one_a_pixel_and_leave_the_rest_as_it_is(tiny):
    x, (extrinsics, intrinsics) = images(2, 3), cameras(2, 3)
    plain = run(tiny, x, extrinsics, intrinsics)
    out = run(tiny, x, extrinsics, intrinsics, infer_gs=True)
    assert torch.equal(out["depth"], plain["depth"])
    gaussians = out["gaussians"]
    count = 3 * 42 * 56
    assert gaussians.means.shape == gaussians.scales.shape == (2, count, 3)
    assert gaussians.rotations.shape == (2, count, 4)
    assert gaussians.harmonics.shape == (2, count, 3, 9)
    assert gaussians.opacities.shape == (2, count)
    assert torch.equal(gaussians.scene(1).means, gaussians.means[1:])
    torch.testing.assert_close(gaussians.rotations.norm(dim=-1), torch.ones(2, count))


REFUSED = {
    "poses without cameras": ({"has_poses": True}, "poses given to tiny-metric.*or use da3-small, .*nested"),
    "no gaussians": ({"infer_gs": True}, "infer_gs=True with tiny-metric.*da3-giant or da3nested-giant-large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_network_cannot_do_is_refused_with_the_models_that_can(tiny_metric, case):
    options, message = REFUSED[case]
    with pytest.raises(UnsupportedError, match=message):
        tiny_metric.check_options(**options)
    given = dict(zip(("extrinsics", "intrinsics"), cameras(1, 2), strict=True)) if "has_poses" in options else options
    with pytest.raises(UnsupportedError, match=message):
        tiny_metric(images(1, 2), **given)
