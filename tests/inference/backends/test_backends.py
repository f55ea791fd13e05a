"""What computes the network: torch, converted networks and exported files give the same results, or an error."""

from __future__ import annotations

import copy
import importlib.metadata
import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import CheckpointFormatError, ShapeMismatchError, UnsupportedError
from depth_anything_3.inference.backends import conversion
from depth_anything_3.inference.backends.backend import BackendName
from depth_anything_3.inference.backends.converted_backend import backend_of
from depth_anything_3.inputs.routing import cost_store
from depth_anything_3.jobs.demo import demo_images
from support.tiny_graphs import LEVELS, METADATA, METRIC, SCENES, STATIC, MeanNetwork, write_ir

IMAGES = [np.random.default_rng(seed).integers(0, 256, (28, 42, 3), np.uint8) for seed in range(3)]
OPTIONS = {"process_res": 42, "batch_size": 2}
GIVEN = {"extrinsics": np.tile(np.eye(4), (2, 1, 1)), "intrinsics": np.tile(np.eye(3), (2, 1, 1))}


def model_of(backend, preset="da3mono-large"):
    """A model with the network of `tiny_graphs`."""
    with torch.device("meta"):
        model = DepthAnything3(preset)
    model.model = MeanNetwork()
    model.engine.other_backend = backend_of(BackendName(backend), model.engine.torch_backend, model.card)
    return model.eval()


@pytest.fixture
def conversions(monkeypatch, tmp_path):
    """The factors of the networks that were converted, into a cache of this test."""
    factors = []

    def write(network, card, backend, path, *, many_views):
        factors.append(network.factor.item())
        write_ir(path, factor=factors[-1])

    monkeypatch.setattr(conversion, "_write", write)
    monkeypatch.setattr(cost_store.platformdirs, "user_cache_path", lambda *_, **__: tmp_path)
    return factors


def depths(model, **options):
    return np.concatenate([one.depth for one in model.stream(IMAGES, **OPTIONS, **options)])


@pytest.mark.parametrize("backend", ["openvino", "auto"])
def test_a_converted_network_gives_the_results_of_torch_and_is_converted_once(conversions, backend, caplog):
    expected = depths(model_of("torch"))
    for _ in range(2):
        model = model_of(backend)
        np.testing.assert_allclose(depths(model), expected, rtol=1e-5, atol=1e-6)
        assert depths(copy.deepcopy(model)).shape == expected.shape
    assert conversions == [2.0]
    assert caplog.text.count("converting da3mono-large for OpenVINO, once") == 1


@pytest.mark.parametrize("change", ["in place", "state", "assign", "new network"])
def test_changed_weights_are_converted_again(conversions, change):
    model = model_of("openvino")
    before, other = depths(model), MeanNetwork(3.0)
    if change == "in place":
        with torch.no_grad():
            model.model.factor.mul_(1.5)
    elif change == "new network":
        model.model = other
    else:
        model.model.load_state_dict(other.state_dict(), assign=change == "assign")
    np.testing.assert_allclose(depths(model), 1.5 * before, rtol=1e-5, atol=1e-6)
    assert conversions == [2.0, 3.0]


def test_a_conversion_with_other_results_is_not_used(conversions, monkeypatch, caplog):
    monkeypatch.setattr(
        conversion, "_write", lambda network, card, backend, path, *, many_views: write_ir(path, factor=2.1)
    )
    with pytest.raises(UnsupportedError, match=r"differs by .*e-02 from torch when converted for OpenVINO"):
        depths(model_of("openvino"))
    caplog.set_level(logging.INFO)
    np.testing.assert_array_equal(depths(model_of("auto")), depths(model_of("torch")))
    assert caplog.text.count("backend='auto' takes torch") == 1


class SkyNetwork(MeanNetwork):
    """The first two pixels are nearly sky; `flips` fills so many of them as sky."""

    def __init__(self, flips=0):
        super().__init__()
        self.flips = flips

    def forward(self, x, *_, **options):
        depth, sky = 5 + x.mean(dim=2), torch.zeros_like(x[:, :, 0])
        sky[..., 0, :2] = 0.3 - 1e-7
        depth[..., 0, : self.flips] = 200
        return {"depth": depth, "sky": sky}


@pytest.mark.parametrize(("flips", "is_right"), [(0, True), (2, True), (3, False)])
def test_pixels_that_rounding_makes_sky_are_not_compared(monkeypatch, flips, is_right):
    class Computed:
        def __init__(self, *_):
            self.network = SkyNetwork(flips)

        def __call__(self, x):
            return self.network(x)

        def close(self):
            pass

    monkeypatch.setattr(conversion, "GraphBackend", Computed)
    card = model_of("torch").card
    error = conversion._difference(SkyNetwork(), card, Computed(), many_views=False)
    assert (error == 0) is is_right


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_ray_pose": True}, "use_ray_pose=True"),
        ({"export_feat_layers": [1]}, r"export_feat_layers=\[1\]"),
        ({"ref_view_strategy": "first"}, "ref_view_strategy='first'"),
        ({"infer_gs": True}, "infer_gs=True"),
        (GIVEN, "given poses"),
    ],
)
def test_options_that_a_graph_cannot_do_are_refused_before_anything_is_read(conversions, options, message):
    with pytest.raises(UnsupportedError, match=rf"{message}; pass backend='torch'"):
        model_of("openvino").inference(["not-there-1.jpg", "not-there-2.jpg"], **options)
    assert conversions == []


def test_auto_takes_torch_for_them(conversions):
    expected = depths(model_of("torch"), use_ray_pose=True)
    np.testing.assert_array_equal(depths(model_of("auto"), use_ray_pose=True), expected)
    assert conversions == []


def test_bfloat16_is_computed_where_asked(conversions):
    model, expected = model_of("openvino"), depths(model_of("torch"))
    model.engine.compute_dtype = torch.bfloat16
    np.testing.assert_allclose(depths(model), expected, atol=2e-2)
    model.engine.compute_dtype = torch.float16
    with pytest.raises(UnsupportedError, match="computes in float32 or bfloat16, not in float16"):
        depths(model)


@pytest.mark.parametrize(("backend", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
def test_without_the_extra_the_error_says_how_to_install_it(conversions, monkeypatch, backend, extra, caplog):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    expected = depths(model_of("torch"))
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UnsupportedError, match=rf"run pip install '\.\[{extra}\]'"):
        model_of(backend)
    caplog.set_level(logging.INFO)
    np.testing.assert_array_equal(depths(model_of("auto")), expected)
    assert "openvino is not installed" in caplog.text


def test_the_backend_and_a_gpu_exclude_each_other(monkeypatch):
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    with pytest.raises(UnsupportedError, match="device='cuda' with backend='openvino', which computes on the CPU"):
        DepthAnything3.from_pretrained("da3-nano", "cuda", backend="openvino")


@pytest.mark.parametrize("metadata", [METADATA, METRIC, LEVELS, STATIC], ids=["plain", "metric", "uint8", "static"])
def test_an_exported_file_gives_the_results_of_torch(tmp_path, metadata):
    model = DepthAnything3.from_exported(write_ir(tmp_path / "net.xml", metadata))
    expected = depths(model_of("torch", metadata.model))
    if metadata is LEVELS:  # this graph does not normalise
        expected = np.stack([2 * image.mean(axis=2) for image in IMAGES])
    np.testing.assert_allclose(depths(model), expected, rtol=1e-5, atol=1e-5)
    prediction = model.depth(IMAGES[0], **OPTIONS)
    assert (prediction.is_metric, prediction.model_name) == (0, metadata.model)
    assert len(model.inference(IMAGES[:1], process_res=42).depth) == 1


def test_an_exported_file_has_no_weights(tmp_path):
    model = DepthAnything3.from_exported(write_ir(tmp_path / "net.xml"))
    for call in (model.state_dict, lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(UnsupportedError, match="whose weights cannot be read or changed"):
            call()
    with pytest.raises(UnsupportedError, match=r"torch\.compile needs backend='torch'"):
        model.compile()
    assert (model.device.type, model.to("cpu").engine.dtype) == ("cpu", torch.float32)
    assert model(torch.ones(1, 1, 3, 28, 42))["depth"].unique().tolist() == [2.0]


def test_an_exported_file_refuses_what_it_does_not_take(tmp_path):
    static = DepthAnything3.from_exported(write_ir(tmp_path / "static.xml", STATIC))
    assert static.engine.resolved(conversion.PreprocessOptions()).process_res == 42
    with pytest.raises(ShapeMismatchError, match=r"an image of 42x42 .*takes 42x28"):
        static.depth(np.zeros((50, 50, 3), np.uint8))
    scenes = DepthAnything3.from_exported(write_ir(tmp_path / "scenes.xml", SCENES))
    with pytest.raises(UnsupportedError, match="3 views of a scene: this export of da3-small takes 2"):
        scenes.inference(["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises(UnsupportedError, match="1 view of a scene"):
        scenes.depth(IMAGES[0])
    assert scenes.inference(IMAGES[:2], process_res=42).depth.shape == (2, 28, 42)
    with pytest.raises(UnsupportedError, match="given poses: an exported network does not support it"):
        scenes.inference(["a.jpg", "b.jpg"], **GIVEN)


def test_an_export_of_an_unknown_model_is_refused(tmp_path):
    path = write_ir(tmp_path / "net.xml", replace(METADATA, model="da4"))
    with pytest.raises(CheckpointFormatError, match=r"net\.xml: an export of the unknown model 'da4'"):
        DepthAnything3.from_exported(path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_trained_network_gives_the_same_files(monkeypatch, tmp_path, backend):
    monkeypatch.setattr(cost_store.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    levels = []
    photos = [one.path for one in demo_images()]
    for name in ("torch", backend):
        folder = tmp_path / name
        model = DepthAnything3.from_pretrained("da3-nano", "cpu", backend=name)
        model.depth(photos, export_dir=folder, export_format="depth_png")
        levels.append([cv2.imread(str(one), cv2.IMREAD_UNCHANGED) for one in sorted(folder.rglob("*.png"))])
    assert len(levels[0]) == len(levels[1]) == 3
    for first, second in zip(*levels, strict=True):
        assert first.dtype == np.uint16
        assert np.abs(first.astype(int) - second).max() <= 1


@pytest.mark.slow
def test_views_of_a_scene_and_cameras_are_those_of_torch(monkeypatch, tmp_path, small_checkpoint):
    monkeypatch.setattr(cost_store.platformdirs, "user_cache_path", lambda *_, **__: tmp_path)
    torch_model, model = (
        DepthAnything3.from_pretrained(small_checkpoint, "cpu", backend=one) for one in ("torch", "openvino")
    )
    for count in (1, 2, 3, 5):
        images = [np.random.default_rng(seed).integers(0, 256, (28, 42, 3), np.uint8) for seed in range(count)]
        expected, found = (one.inference(images, process_res=42) for one in (torch_model, model))
        for field in ("depth", "conf", "extrinsics", "intrinsics"):
            exact = getattr(expected, field)
            np.testing.assert_allclose(getattr(found, field), exact, atol=1e-4 * np.abs(exact).max(), err_msg=field)
