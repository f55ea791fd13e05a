"""Call patterns of public programs that use upstream's API: each row names them and asserts the values.

Rows for upstream's modules are in `test_upstream_clients.py` and `test_upstream_modules.py`.
"""

from __future__ import annotations

import copy
import json
import logging
import pickle
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import DA3Error, InvalidInputError, UnsupportedError
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.seeded_values import seeded_cameras, seeded_images_uint8
from support.upstream_patterns import SIZE, SMALL, Patterns

OPTIONS = {**SMALL, "num_workers": 2}
SHARED_NORM = "model.head.scratch.output_conv2_aux.{}.2.{}"


@dataclass(frozen=True)
class Bench:
    """What a check works with; `model` is shared and must not be changed."""

    model: DepthAnything3
    folder: Path
    views: list[np.ndarray]
    tmp_path: Path
    caplog: pytest.LogCaptureFixture

    @property
    def x(self) -> torch.Tensor:
        return InputProcessor()(self.views, process_res=84).tensor[None]

    def own(self) -> DepthAnything3:
        return copy.deepcopy(self.model)

    def expected(self, **options):
        with torch.inference_mode():
            return self.model.model(self.x, **options)

    def assert_same_depth(self, depth, tolerance=0.0) -> None:
        wanted = self.expected()["depth"].numpy()
        depth = np.asarray(depth.detach() if isinstance(depth, torch.Tensor) else depth)
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth.reshape(wanted.shape), wanted, rtol=tolerance, atol=0)

    def warned(self, text: str) -> bool:
        found = text in self.caplog.text
        self.caplog.clear()
        return found


@pytest.fixture
def bench(seeded_small, small_checkpoint, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    return Bench(seeded_small, small_checkpoint, list(seeded_images_uint8(2, *SIZE, seed=1)), tmp_path, caplog)


PATTERNS = Patterns()


# Construction, loading, saving


@PATTERNS.row("DepthAnything3(**json of config.json), load_state_dict(...)", "da3_streaming, DA3-SLAM, DA3-blender")
def keywords_of_the_official_config_then_load_state_dict(bench):
    config = {"model_name": "da3-small", "config": {"net": {"name": "vits"}, "head": {"output_dim": 2}}}
    model = DepthAnything3(**config)
    assert bench.warned("config (the network is that of model_name)")
    assert model.config == {"model_name": "da3-small"}
    missing, unexpected = model.load_state_dict(bench.model.state_dict(), strict=False)
    assert (missing, unexpected) == ([], [])
    prediction = model.eval().inference(bench.views, **OPTIONS)
    prediction.depth = np.squeeze(prediction.depth)
    prediction.conf -= 1.0
    bench.assert_same_depth(prediction.depth)


@PATTERNS.row("DepthAnything3(name, device=, use_cache=)", "awesome-depth-anything-3 (benchmarks)")
def constructor_with_device_and_use_cache(bench):
    model = DepthAnything3("da3-small", device="cpu", use_cache=True)
    assert (model.device, bench.warned("use_cache")) == (torch.device("cpu"), True)


@PATTERNS.row("class Own(DepthAnything3): __init__(self, **kwargs)", "GenRec")
def a_subclass_with_its_own_keywords(bench):
    class Reconstruction(DepthAnything3):
        def __init__(self, voxels=1, **kwargs):
            super().__init__(**kwargs)
            self.voxels = voxels
            self.extra = nn.Linear(2, 3)

    model = Reconstruction.from_pretrained(bench.folder, voxels=5)
    assert (type(model), model.voxels, model.training) == (Reconstruction, 5, False)
    assert model.extra(torch.zeros(1, 2)).isfinite().all()
    bench.assert_same_depth(model.inference(bench.views, **OPTIONS).depth)


@PATTERNS.row("from_pretrained(force_download=True, map_location=, strict=, ...)", "map-anything, spagent")
def from_pretrained_with_the_hubs_keywords(bench):
    model = DepthAnything3.from_pretrained(
        pretrained_model_name_or_path=str(bench.folder),
        force_download=True,
        revision="main",
        token=None,
        strict=False,
        map_location="cpu",
        proxies=None,
    )
    assert bench.caplog.text == ""
    bench.assert_same_depth(model.inference(bench.views, **OPTIONS).depth)
    DepthAnything3.from_pretrained(bench.folder, device="cpu", proxies={"https": "proxy"})
    assert bench.warned("proxies (set HTTPS_PROXY)")


@PATTERNS.row("save_pretrained(save_directory=, config=, repo_id=)", "huggingface_hub's mixin")
def save_pretrained_with_the_hubs_keywords(bench):
    bench.model.save_pretrained(save_directory=bench.tmp_path, config=bench.model.config, repo_id="me/depth")
    assert bench.warned("save_pretrained(): no effect here: config (the network is that of model_name), repo_id")
    assert json.loads((bench.tmp_path / "config.json").read_text()) == bench.model.config
    with pytest.raises(UnsupportedError, match="hf upload"):
        bench.model.save_pretrained(bench.tmp_path, push_to_hub=True)


@PATTERNS.row("load_state_dict(state of a live upstream model, strict=True)", "torch.save(upstream.state_dict())")
def four_copies_of_the_shared_norm_load_strictly(bench):
    model, state = bench.own(), bench.model.state_dict()
    for level in (1, 2, 3):
        for leaf in ("weight", "bias"):
            state[SHARED_NORM.format(level, leaf)] = torch.full_like(state[SHARED_NORM.format(0, leaf)], level)
    assert str(model.load_state_dict(state, strict=True)) == "<All keys matched successfully>"
    assert model.state_dict()[SHARED_NORM.format(0, "weight")].unique().tolist() == [3.0]
    assert model.state_dict().keys() == bench.model.state_dict().keys()
    bench.assert_same_depth(model.inference(bench.views, **OPTIONS).depth)


# The network


@PATTERNS.row(
    "model(image=, export_feat_layers=[], use_ray_pose=True)",
    "map-anything, ika ROS2, TheAnimeScripter, ricklon",
)
def forward_of_the_model_itself(bench):
    output = bench.model(image=bench.x, export_feat_layers=[], use_ray_pose=True)
    expected = bench.expected(use_ray_pose=True)
    assert output.keys() == expected.keys() == {"depth", "depth_conf", "extrinsics", "intrinsics", "aux"}
    assert {name: tuple(output[name].shape) for name in output if name != "aux"} == {
        "depth": (1, 2, *SIZE),
        "depth_conf": (1, 2, *SIZE),
        "extrinsics": (1, 2, 3, 4),
        "intrinsics": (1, 2, 3, 3),
    }
    assert all(torch.equal(output[name], expected[name]) for name in expected if name != "aux")
    assert not output.depth.requires_grad


@PATTERNS.row("output.depth, prediction.aux.feat_layer_3", "map-anything, ricklon viewer")
def outputs_and_features_as_attributes(bench):
    output = bench.model(bench.x, None, None, [3], False)
    assert output.depth is output["depth"]
    assert output.aux.feat_layer_3.shape == (1, 2, 4, 6, 384)
    assert output.get("sky") is None
    with pytest.raises(AttributeError, match=r"'sky'.*depth, depth_conf"):
        output.sky  # noqa: B018
    prediction = bench.model.inference(bench.views, export_feat_layers=[3], **OPTIONS)
    np.testing.assert_array_equal(prediction.aux.feat_layer_3, output.aux.feat_layer_3[0].numpy())
    again = pickle.loads(pickle.dumps(prediction))
    assert again.aux.feat_layer_3 is again.aux["feat_layer_3"]


@PATTERNS.row("model(x, export_feat_layers=None)", "upstream's signature")
def no_layers_may_be_none(bench):
    bench.assert_same_depth(bench.model(bench.x, export_feat_layers=None)["depth"])
    bench.assert_same_depth(bench.model.model(bench.x, export_feat_layers=None)["depth"])


@PATTERNS.row("inference(images, intrinsics=)", "map-anything, Chuong98CC, DBA_DA3_LSG")
def intrinsics_without_extrinsics_are_ignored(bench):
    intrinsics = seeded_cameras(2, *SIZE, seed=2)[1]
    prediction = bench.model.inference(bench.views, None, intrinsics, **OPTIONS)
    assert bench.warned("intrinsics without extrinsics are ignored")
    bench.assert_same_depth(prediction.depth)
    np.testing.assert_array_equal(prediction.intrinsics, bench.expected()["intrinsics"][0].numpy())
    bench.assert_same_depth(bench.model(bench.x, intrinsics=torch.from_numpy(intrinsics)[None])["depth"])
    assert bench.warned("ignores intrinsics without extrinsics")


@PATTERNS.row("model.model.backbone(x)", "langaoo, mx297")
def the_backbone_alone(bench):
    with torch.inference_mode():
        levels, exported = bench.model.model.backbone(bench.x, export_feat_layers=[3])
        depth = bench.model.model.head([features for features, _ in levels], SIZE).depth
    assert [(features.shape, token.shape) for features, token in levels] == [((1, 2, 24, 768), (1, 2, 768))] * 4
    bench.assert_same_depth(depth)
    wanted = bench.expected(export_feat_layers=[3])["aux"]["feat_layer_3"]
    assert torch.equal(exported[0], wanted.flatten(2, 3))


@PATTERNS.row("model.parameters() of a model that is trained", "clients that fine-tune")
def the_parameters_can_be_trained(bench):
    model, x = bench.own().train(), bench.x[:, :1, :, :28, :28]
    model.requires_grad_(False)
    model.model.head.requires_grad_(True)
    loss = model.model(x)["depth"].mean()
    loss.backward()
    with torch.no_grad():
        for one in model.parameters():
            if one.grad is not None:
                one -= 1e-4 * one.grad
    assert model(x)["depth"].mean() < loss


@PATTERNS.row("torch.jit.trace", "petermercell Nuke, ika ROS2-TensorRT (exporter based on TorchScript)")
def torch_jit_trace(bench):
    class Tensors(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            output = self.model(x)
            return output.depth, output.depth_conf, output.extrinsics, output.intrinsics

    for network in (bench.model.model, bench.model):
        with warnings.catch_warnings():  # torch calls it deprecated, and warns of every decision made by shape
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(Tensors(network), (torch.zeros_like(bench.x),), check_trace=False)
        found = traced(bench.x)
        bench.assert_same_depth(found[0], 1e-5)
        for one, name in zip(found, ("depth", "depth_conf", "extrinsics", "intrinsics"), strict=True):
            torch.testing.assert_close(one.detach(), bench.expected()[name], rtol=1e-4, atol=1e-5)


@PATTERNS.row("model.half(), model.to(torch.bfloat16)", "fiftyone, DA3-blender")
def weights_in_low_precision_stay_float32(bench):
    for convert, dtype in (
        (lambda model: model.half(), torch.float16),
        (lambda model: model.to(torch.bfloat16), torch.bfloat16),
        (lambda model: nn.ModuleDict({"depth": model}).to("cpu", torch.float16)["depth"], torch.float16),
    ):
        model = convert(bench.own())
        assert bench.warned(f"weights stay float32; the backbone computes in {dtype}")
        assert {one.dtype for one in model.parameters()} == {torch.float32}
        reference = DepthAnything3.from_pretrained(bench.folder, "cpu", dtype).inference(bench.views, **OPTIONS).depth
        np.testing.assert_array_equal(model.inference(bench.views, **OPTIONS).depth, reference)
        assert model(bench.x.to(dtype))["depth"].dtype is torch.float32
        bench.assert_same_depth(model.float().inference(bench.views, **OPTIONS).depth)


@PATTERNS.row("deepcopy, pickle, DataParallel(model).module", "clients that copy or wrap the model")
def a_copy_a_pickle_and_a_parallel_model(bench):
    model = bench.own()
    for one in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), nn.DataParallel(model).module):
        bench.assert_same_depth(one.inference(bench.views, **OPTIONS).depth)


# Processors and devices


@PATTERNS.row("model.device = ..., model._get_model_device()", "NetsumaInfo glb-blender, TheAnimeScripter")
def the_device_is_set_and_asked(bench):
    model = bench.own()
    model.device = torch.device("cpu")
    model.device = None
    assert model._get_model_device() == model.device == torch.device("cpu")
    with pytest.raises(InvalidInputError, match="'gpu'"):
        model.device = "gpu"


@PATTERNS.row("model.output_processor(output)", "TheAnimeScripter")
def the_output_processor_gives_one_prediction(bench):
    prediction = bench.model.output_processor(bench.model(bench.x, export_feat_layers=[3]))
    bench.assert_same_depth(prediction.depth)
    assert (prediction.depth.shape, prediction.is_metric) == ((2, *SIZE), 0)
    assert prediction.aux.feat_layer_3.shape == (2, 4, 6, 384)
    fields = asdict(prediction)
    np.testing.assert_array_equal(fields["aux"]["feat_layer_3"], prediction.aux.feat_layer_3)


@PATTERNS.row("model.input_processor(..., sequential=, print_progress=, desc=)", "clients of InputProcessor")
def a_processed_batch_is_a_tuple_of_three(bench):
    cameras = seeded_cameras(2, *SIZE, seed=2)
    batch = bench.model.input_processor(bench.views, *cameras, 84, "upper_bound_resize", sequential=True, desc="Read")
    tensor, extrinsics, intrinsics = batch
    assert (len(batch), batch[0] is tensor, batch[-1] is intrinsics) == (3, True, True)
    assert (tensor.shape, extrinsics.shape, intrinsics.shape) == ((2, 3, *SIZE), (2, 4, 4), (2, 3, 3))
    assert torch.equal(tensor[None], bench.x)
    assert bench.caplog.text == ""
    for _ in range(2):
        bench.model.input_processor(bench.views, process_res=84, print_progress=True)
    assert bench.caplog.text.count("print_progress=True") == 1


@PATTERNS.row("model.input_processor = wrapper", "VideoDepthViewer3D")
def the_input_processor_is_wrapped(bench):
    model, calls = bench.own(), []
    original = model.input_processor

    def wrapper(*args, **kwargs):
        calls.append(args[3:])
        return original(*args, **{**kwargs, "sequential": True})

    model.input_processor = wrapper
    assert model.input_processor is wrapper
    prediction = model.inference(bench.views, process_res=84)
    bench.assert_same_depth(prediction.depth)
    assert calls == [(84, "upper_bound_resize")]
    assert prediction.source_hw == (SIZE, SIZE)
    model.input_processor = original
    assert model.input_processor is original


# Calls


@PATTERNS.row("batch_inference(images, 518)", "awesome-depth-anything-3 (README, notebook)")
def batch_inference_takes_process_res_second(bench):
    found = bench.model.batch_inference(bench.views, 84, 2)
    wanted = bench.model.depth(bench.views, process_res=84)
    assert [one.depth.shape for one in found] == [(1, *SIZE)] * 2
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.depth, other.depth, rtol=1e-5)
    by_keyword = bench.model.batch_inference(images=bench.views, process_res=42, batch_size=1, num_workers=2)
    assert by_keyword[0].depth.shape == (1, 28, 42)


@PATTERNS.row('inference(image=, ..., export_format="mini_npz-npz")', "upstream README and page of its API")
def the_documented_call(bench):
    prediction = bench.model.inference(
        image=bench.views,
        extrinsics=None,
        intrinsics=None,
        align_to_input_ext_scale=True,
        infer_gs=False,
        use_ray_pose=False,
        ref_view_strategy="saddle_balanced",
        process_res=84,
        process_res_method="upper_bound_resize",
        export_dir=str(bench.tmp_path),
        export_format="mini_npz-npz",
        export_feat_layers=[],
    )
    bench.assert_same_depth(prediction.depth)
    files = sorted(path.relative_to(bench.tmp_path).as_posix() for path in bench.tmp_path.rglob("*.npz"))
    assert files == ["exports/mini_npz/results.npz", "exports/npz/results.npz"]


@pytest.mark.parametrize("one", [pytest.param(one, id=one.call) for one in PATTERNS])
def test_pattern(bench, one):
    one.check(bench)


@pytest.mark.slow
def test_a_network_is_exported_by_torch_export(bench):
    x = bench.x[:, :1, :, :28, :28]
    output = torch.export.export(bench.model.model, (x,)).module()(x)
    # A graph for all sizes computes the position table by two matrix products.
    torch.testing.assert_close(output.depth, bench.model(x)["depth"], rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        pytest.param(lambda _: DepthAnything3(modell="da3-small"), r"no argument 'modell'", id="unknown-keyword"),
        pytest.param(
            lambda bench: DepthAnything3.from_pretrained(bench.folder, "cpu", voxels=5),
            r"from_pretrained\(\) has no argument 'voxels'",
            id="unknown-keyword-of-from_pretrained",
        ),
        pytest.param(
            lambda bench: setattr(bench.own(), "input_processor", 3), "cannot be called", id="no-input-processor"
        ),
        pytest.param(
            lambda bench: bench.model(bench.x, extrinsics=torch.eye(4).expand(1, 2, 4, 4)),
            "intrinsics missing",
            id="extrinsics-alone",
        ),
        pytest.param(lambda bench: bench.model(bench.x, infer_gs=True), "infer_gs", id="gaussians-of-da3-small"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(bench, call, reason):
    with pytest.raises(DA3Error, match=reason):
        call(bench)
