"""Properties of the network that hold whatever the weights."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from support.model_golden import scaled_error
from support.tiny_networks import assert_same, cameras, images, pick, run


def test_outputs_have_the_documented_shapes_and_types(tiny):
    out = run(tiny, images(2, 3), export_feat_layers=[6, 0])
    shapes = {key: tuple(value.shape) for key, value in out.items() if key != "aux"}
    assert shapes == {
        "depth": (2, 3, 42, 56),
        "depth_conf": (2, 3, 42, 56),
        "extrinsics": (2, 3, 3, 4),
        "intrinsics": (2, 3, 3, 3),
    }
    assert {key: tuple(value.shape) for key, value in out["aux"].items()} == {
        "feat_layer_0": (2, 3, 3, 4, 64),
        "feat_layer_6": (2, 3, 3, 4, 64),
    }
    tensors = [value for key, value in out.items() if key != "aux"] + list(out["aux"].values())
    assert {value.dtype for value in tensors} == {torch.float32}
    assert (out["depth"] > 0).all()
    assert (out["depth_conf"] >= 1).all()


@pytest.mark.parametrize("use_ray_pose", [False, True], ids=["decoder", "rays"])
def test_scenes_of_a_batch_do_not_see_each_other(small, use_ray_pose):
    # Ten views in all: the heads' groups of eight straddle the scenes.
    x = images(2, 5)
    options = {"use_ray_pose": use_ray_pose, "export_feat_layers": [2, 11]}
    together = run(small, x, **options)
    for scene in range(2):
        alone = run(small, x[scene : scene + 1], **options)
        # Poses from rays amplify the rounding of the rays.
        assert_same(pick(together, slice(scene, scene + 1)), alone, 1e-3 if use_ray_pose else 2e-5)


def test_scenes_with_given_poses_do_not_see_each_other(small):
    x, (extrinsics, intrinsics) = images(2, 2), cameras(2, 2)
    together = run(small, x, extrinsics, intrinsics)
    for scene in range(2):
        one = slice(scene, scene + 1)
        assert_same(pick(together, one), run(small, x[one], extrinsics[one], intrinsics[one]))


def test_views_come_back_in_the_callers_order(small):
    # The middle view as reference is the same network run as that view first, the others in order.
    x = images(1, 5)
    order = torch.tensor([2, 0, 1, 3, 4])
    middle = run(small, x, ref_view_strategy="middle")
    first = run(small, x[:, order], ref_view_strategy="first")
    assert_same(pick(middle, views=order), first)


def test_exported_features_come_back_in_the_callers_order_too(small):
    # Block 3 is the first that sees the reference view first.
    x, layers = images(1, 5), [2, 3, 11]
    order = torch.tensor([2, 0, 1, 3, 4])
    middle = run(small, x, ref_view_strategy="middle", export_feat_layers=layers)
    first = run(small, x[:, order], ref_view_strategy="first", export_feat_layers=layers)
    assert_same(pick(middle, views=order), first)


def test_given_poses_disable_view_reordering(small):
    x, (extrinsics, intrinsics) = images(1, 4), cameras(1, 4)
    results = [run(small, x, extrinsics, intrinsics, ref_view_strategy=name) for name in ("first", "middle")]
    assert torch.equal(results[0]["depth"], results[1]["depth"])
    assert not torch.allclose(results[0]["depth"], run(small, x)["depth"], rtol=1e-2)


def test_intrinsics_without_poses_are_ignored_with_a_warning(tiny, caplog):
    x = images(1, 2)
    alone = run(tiny, x, intrinsics=cameras(1, 2)[1])
    assert "tiny ignores intrinsics without extrinsics" in caplog.text
    assert_same(alone, run(tiny, x))


def test_two_views_are_never_reordered(small):
    x = images(1, 2)
    results = [run(small, x, ref_view_strategy=name)["depth"] for name in ("first", "middle")]
    assert torch.equal(*results)


def test_leaving_rays_out_changes_nothing_else(small):
    x = images(1, 3)
    decoder, rays = run(small, x), run(small, x, use_ray_pose=True)
    assert torch.equal(decoder["depth"], rays["depth"])
    assert torch.equal(decoder["depth_conf"], rays["depth_conf"])
    assert not torch.allclose(decoder["extrinsics"], rays["extrinsics"], rtol=1e-2)


def test_ray_poses_are_deterministic_without_a_generator(small):
    x = images(1, 2)
    first = run(small, x, use_ray_pose=True)
    torch.rand(1)
    second = run(small, x, use_ray_pose=True)
    assert torch.equal(first["extrinsics"], second["extrinsics"])
    assert torch.equal(first["intrinsics"], second["intrinsics"])


@pytest.mark.parametrize("views_at_once", [1, 2, 4])
def test_heads_give_the_same_in_chunks_of_any_size(tiny, views_at_once):
    x = images(2, 3)
    with torch.inference_mode():
        features = tiny.backbone["pretrained"](x).features
        whole = tiny.head(features, (42, 56), with_rays=True)
        chunked = tiny.head(features, (42, 56), with_rays=True, views_at_once=views_at_once)
        whole_gs, chunked_gs = (
            tiny.gs_head(features, x),
            tiny.gs_head(features, x, views_at_once=views_at_once),
        )
    for a, b in zip((*chunked, *chunked_gs), (*whole, *whole_gs), strict=True):
        assert scaled_error(a.numpy(), b.numpy()) <= 1e-5


def test_exported_layers_may_come_in_any_order(tiny):
    x = images(1, 2)
    ascending = run(tiny, x, export_feat_layers=(1, 4))["aux"]
    descending = run(tiny, x, export_feat_layers=[4, 1])["aux"]
    assert list(ascending) == list(descending) == ["feat_layer_1", "feat_layer_4"]
    assert torch.equal(ascending["feat_layer_4"], descending["feat_layer_4"])


def test_gaussian_head_gives_37_numbers_and_an_opacity_per_pixel(tiny):
    x = images(1, 2)
    with torch.inference_mode():
        raw, density = tiny.gs_head(tiny.backbone["pretrained"](x).features, x)
    assert (raw.shape, density.shape) == ((1, 2, 42, 56, 37), (1, 2, 42, 56))
    assert (density > 0).all()
    assert (density < 1).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_only_the_backbone_is_in_low_precision(small, dtype):
    x, (extrinsics, intrinsics) = images(1, 3), cameras(1, 3)
    seen = {}
    handles = [
        module.register_forward_hook(lambda _module, _args, out, name=name: seen.update({name: out.dtype}))
        for name, module in {
            "qkv": small.backbone["pretrained"].blocks[0].attn.qkv,
            "head": small.head.scratch.output_conv1,
            "cam_dec": small.cam_dec,
            "cam_enc": small.cam_enc,
        }.items()
    ]
    try:
        exact = run(small, x, extrinsics, intrinsics, export_feat_layers=[5])
        with torch.autocast("cpu", dtype=dtype):
            rough = run(small, x, extrinsics, intrinsics, export_feat_layers=[5])
    finally:
        for handle in handles:
            handle.remove()
    assert seen == {"qkv": dtype, "head": torch.float32, "cam_dec": torch.float32, "cam_enc": torch.float32}
    assert {value.dtype for key, value in rough.items() if key != "aux"} == {torch.float32}
    assert rough["aux"]["feat_layer_5"].dtype == torch.float32
    # Random weights amplify rounding far more than trained ones; this only excludes a broken path.
    assert scaled_error(rough["extrinsics"].numpy(), exact["extrinsics"].numpy()) < 0.05
    ratio = (rough["depth"] / exact["depth"]).log().abs().median()
    assert ratio < 0.05


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_images_of_any_floating_type_are_taken(tiny, dtype, autocast):
    x = images(1, 2).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert_same(run(tiny, x), run(tiny, x.float()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_another_type_are_rejected_with_a_hint(tiny, dtype):
    with pytest.raises(UnsupportedError, match=rf"weights of {dtype}; convert them to float32.*torch.autocast"):
        copy.deepcopy(tiny).to(dtype)(images())


def test_inputs_are_left_as_they_were(tiny):
    x, (extrinsics, intrinsics) = images(1, 3), cameras(1, 3)
    before = [value.clone() for value in (x, extrinsics, intrinsics)]
    run(tiny, x, extrinsics, intrinsics, use_ray_pose=True)
    assert all(torch.equal(a, b) for a, b in zip(before, (x, extrinsics, intrinsics), strict=True))


def test_gradients_reach_the_images_and_the_weights(tiny):
    net, x = copy.deepcopy(tiny), images(1, 3).requires_grad_()
    out = net(x)
    (out["depth"].sum() + out["extrinsics"].sum()).backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0
    used = {name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None}
    assert all(gradient.isfinite().all() for gradient in used.values())
    unused = {name for name, _ in net.named_parameters()} - used.keys()
    assert {name.split(".")[0] for name in unused if "_aux" not in name} == {"cam_enc", "gs_head"}


BAD_INPUTS = {
    "four axes": (lambda: {"x": torch.zeros(2, 3, 42, 56)}, r"\(2, 3, 42, 56\).*\(batch, views, 3"),
    "four channels": (lambda: {"x": torch.zeros(1, 1, 4, 42, 56)}, r"\(1, 1, 4, 42, 56\)"),
    "no views": (lambda: {"x": torch.zeros(1, 0, 3, 42, 56)}, r"non-empty"),
    "integer images": (
        lambda: {"x": torch.zeros(1, 1, 3, 42, 56, dtype=torch.uint8)},
        r"uint8.*floating-point",
    ),
    "height no multiple": (lambda: {"x": torch.zeros(1, 1, 3, 43, 56)}, r"height 43.*multiples of 14"),
    "width no multiple": (lambda: {"x": torch.zeros(1, 1, 3, 42, 50)}, r"width 50.*multiples of 14"),
    "extrinsics alone": (lambda: {"extrinsics": cameras(1, 2)[0]}, r"intrinsics missing"),
    "three rows": (
        lambda: {"extrinsics": cameras(1, 2)[0][:, :, :3], "intrinsics": cameras(1, 2)[1]},
        r"extrinsics of shape \(1, 2, 3, 4\); pass \(1, 2, 4, 4\)",
    ),
    "one camera too many": (
        lambda: dict(zip(("extrinsics", "intrinsics"), cameras(1, 3), strict=True)),
        r"\(1, 3, 4, 4\); pass \(1, 2, 4, 4\)",
    ),
    "intrinsics of another batch": (
        lambda: {"extrinsics": cameras(1, 2)[0], "intrinsics": cameras(2, 2)[1]},
        r"intrinsics of shape \(2, 2, 3, 3\)",
    ),
    "layer beyond the last": (lambda: {"export_feat_layers": [0, 8]}, r"\[0, 8\].*from 0 to 7"),
    "negative layer": (lambda: {"export_feat_layers": [-1]}, r"\[-1\].*from 0 to 7"),
    "layer twice": (lambda: {"export_feat_layers": [3, 1, 3]}, r"\[1, 3, 3\].*different"),
    "generator on a GPU": (
        lambda: {"generator": SimpleNamespace(device=torch.device("cuda", 0))},
        r"generator on cuda:0; pass one on the CPU",
    ),
    "unknown strategy": (lambda: {"ref_view_strategy": "best"}, r"'best'.*saddle_balanced"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_refused_at_the_door(tiny, case):
    make, message = BAD_INPUTS[case]
    with pytest.raises(InvalidInputError, match=message):
        tiny(**({"x": images(1, 2)} | make()))
