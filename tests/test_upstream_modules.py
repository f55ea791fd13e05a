"""Call patterns of upstream's clients: networks, services and the command; see `test_upstream_clients.py`."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from depth_anything_3 import DepthAnything3, __version__
from depth_anything_3.errors import DA3Error, InvalidInputError, UnsupportedError, VideoReadError
from depth_anything_3.export.colmap import SparseModel, SparsePoints, write_sparse_model
from depth_anything_3.model import DepthAnything3Net, NestedDepthAnything3Net
from depth_anything_3.model.catalog import MODEL_CARDS
from support.clips import FPS, write_clip
from support.images import jpeg
from support.upstream_patterns import SIZE, SMALL, Patterns, Scene, compute_views

PATTERNS = Patterns()


@pytest.fixture(scope="module")
def views(seeded_small, tmp_path_factory):
    return compute_views(seeded_small, tmp_path_factory.mktemp("views"))


@pytest.fixture
def scene(seeded_small, small_checkpoint, views, tmp_path) -> Scene:
    return Scene(seeded_small, small_checkpoint, *views, tmp_path)


def described(name: str, width: int, layers: list[int], start: int, features: int, channels: list[int]) -> dict:
    """The entry `config` of a published `config.json`."""
    start_layers = dict.fromkeys(("alt_start", "qknorm_start", "rope_start"), start)
    return {
        "__object__": {"path": "depth_anything_3.model.da3", "name": "DepthAnything3Net", "args": "as_params"},
        "net": {
            "__object__": {"path": "depth_anything_3.model.dinov2.dinov2", "name": "DinoV2", "args": "as_params"},
            "name": name,
            "out_layers": layers,
            **start_layers,
            "cat_token": True,
        },
        "head": {"dim_in": 2 * width, "output_dim": 2, "features": features, "out_channels": channels},
        "cam_enc": {"dim_out": width},
        "cam_dec": {"dim_in": 2 * width},
    }


SMALL_CONFIG = described("vits", 384, [5, 7, 9, 11], 4, 64, [48, 96, 192, 384])
LARGE_CONFIG = described("vitl", 1024, [11, 15, 19, 23], 8, 256, [256, 512, 1024, 1024])


# Networks


@PATTERNS.row("create_object(load_config(MODEL_REGISTRY[name])) with the weights", "Livioni, CoreML exporters, iw3")
def build_by_name(scene: Scene) -> None:
    from depth_anything_3.cfg import create_object, load_config
    from depth_anything_3.registry import MODEL_REGISTRY

    assert list(MODEL_REGISTRY) == [name for name, card in MODEL_CARDS.items() if card.hub_ids]
    network = create_object(load_config(MODEL_REGISTRY["da3-small"])).eval()
    weights = load_file(scene.checkpoint / "model.safetensors")
    network.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()}, strict=True)
    x = torch.rand(1, 2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(x)["depth"], scene.model.model(x)["depth"], rtol=0, atol=0)


@PATTERNS.row('create_object(json.load(open("config.json"))["config"])', "petermercell, GarD, ONNX exporters")
def build_by_description(scene: Scene) -> None:
    from depth_anything_3.cfg import create_object

    (scene.folder / "config.json").write_text(json.dumps({"model_name": "da3-small", "config": SMALL_CONFIG}))
    content = json.loads((scene.folder / "config.json").read_text())
    with torch.device("meta"):
        networks = [
            create_object(content["config"]),
            create_object(content),
            create_object({"model_name": "da3-small"}),
        ]
        large = create_object(LARGE_CONFIG)
    for network in networks:
        assert isinstance(network, DepthAnything3Net)
        assert network.state_dict().keys() == scene.model.model.state_dict().keys()
    assert large.state_dict().keys() == preset_keys("da3-large")


def preset_keys(name: str) -> set[str]:
    with torch.device("meta"):
        return DepthAnything3(name).model.state_dict().keys()


@PATTERNS.row("from depth_anything_3.model.da3 import DepthAnything3Net", "YB17, TensorRT and streaming programs")
def network_classes(scene: Scene) -> None:
    from depth_anything_3.model import da3

    assert isinstance(scene.model.model, da3.DepthAnything3Net)
    assert da3.NestedDepthAnything3Net is NestedDepthAnything3Net


# Services


@PATTERNS.row("a subclass of InferenceService that calls load_model", "nerfbaselines")
def inference_service(scene: Scene) -> None:
    from depth_anything_3.services.inference_service import InferenceService

    class Service(InferenceService):
        def run(self, paths):
            return self.load_model().inference(image=paths, extrinsics=None, intrinsics=None, **SMALL)

    service = Service(model_dir=str(scene.checkpoint), device="cpu")
    assert service.load_model() is service.load_model()
    np.testing.assert_array_equal(service.run(scene.images).depth, scene.prediction.depth)


@PATTERNS.row("run_inference(image_paths=, export_dir=, model_dir=, device=, ...)", "DRIFTX, evaluation scripts")
def run_inference(scene: Scene) -> None:
    from depth_anything_3.services.inference_service import run_inference

    out = scene.folder / "out"
    call = {"image_paths": scene.images, "model_dir": str(scene.checkpoint), "device": "cpu", **SMALL}
    prediction = run_inference(export_dir=str(out), export_format="mini_npz-glb", num_max_points=100, **call)
    np.testing.assert_array_equal(prediction.depth, scene.prediction.depth)
    assert (out / "scene.glb").is_file()
    assert (out / "exports" / "mini_npz" / "results.npz").is_file()
    np.testing.assert_array_equal(run_inference(export_dir=None, **call).depth, scene.prediction.depth)
    with pytest.raises(UnsupportedError, match="backend_url='http://localhost:8008'"):
        run_inference(export_dir=None, backend_url="http://localhost:8008", **call)


@PATTERNS.row("ImagesHandler.process(folder), ImageHandler.process(path)", "tianxingleo, cympyc1785")
def handle_images(scene: Scene) -> None:
    from depth_anything_3.services.input_handlers import ImageHandler, ImagesHandler, InputHandler

    for name in ("b.png", "a.JPG", "c.webp", "notes.txt"):
        (scene.folder / name).write_bytes(jpeg())
    assert ImagesHandler.process(str(scene.folder)) == [str(scene.folder / name) for name in ("a.JPG", "b.png")]
    assert ImagesHandler.process(scene.folder, "webp") == [str(scene.folder / "c.webp")]
    assert ImageHandler.process(str(scene.folder / "b.png")) == [str(scene.folder / "b.png")]
    with pytest.raises(InvalidInputError, match="no such Images directory"):
        InputHandler.validate_path(scene.folder / "gone", "Images directory")


@PATTERNS.row("VideoHandler.process(video, output_dir, fps=...)", "tianxingleo, DROID batch, cympyc1785")
def handle_video(scene: Scene) -> None:
    from depth_anything_3.services.input_handlers import VideoHandler

    clip = write_clip(scene.folder / "clip.mp4", FPS)  # one second
    out = scene.folder / "out"
    paths = VideoHandler.process(str(clip), str(out), fps=5.0)
    assert paths == [str(out / "input_images" / f"{number:06d}.png") for number in range(5)]
    with Image.open(paths[0]) as image:
        assert image.size == (96, 72)
    assert len(VideoHandler.process(video_path=str(clip), output_dir=str(out))) == 1  # 1 frame a second
    assert len(list((out / "input_images").iterdir())) == 1
    with pytest.raises(VideoReadError, match=r"gone\.mp4"):
        VideoHandler.process(scene.folder / "gone.mp4", out)


@PATTERNS.row("ColmapHandler.process(folder, sparse_subdir)", "window and panorama scripts")
def handle_colmap(scene: Scene) -> None:
    from depth_anything_3.services.input_handlers import ColmapHandler

    extrinsics, intrinsics = write_workspace(scene.folder, Image.new("RGB", SIZE[::-1]))
    for subdir in ("", "0"):
        paths, poses, matrices = ColmapHandler.process(str(scene.folder), subdir)
        assert paths == [str(scene.folder / "images" / f"{number}.png") for number in range(2)]
        np.testing.assert_allclose(np.stack(list(poses)), extrinsics, atol=1e-6)
        np.testing.assert_allclose(matrices, intrinsics)
    prediction = scene.model.inference(paths, poses, matrices, **SMALL)
    np.testing.assert_allclose(prediction.extrinsics, extrinsics[:, :3], atol=1e-6)


def write_workspace(folder, image, **save) -> tuple[np.ndarray, np.ndarray]:
    (folder / "images").mkdir()
    for number in range(2):
        image.save(folder / "images" / f"{number}.png", **save)
    extrinsics, intrinsics = np.stack([np.eye(4)] * 2), np.stack([[[80.0, 0, 42], [0, 80, 28], [0, 0, 1]]] * 2)
    extrinsics[1, :3, 3] = [1, 2, 3]
    points = SparsePoints(np.empty((0, 3)), np.empty((0, 3), np.uint8), np.empty((0, 2)), np.zeros(2, np.int64))
    (folder / "sparse" / "0").mkdir(parents=True)
    model = SparseModel(("0.png", "1.png"), extrinsics, intrinsics, (SIZE,) * 2)
    write_sparse_model(folder / "sparse" / "0", model, points)
    return extrinsics, intrinsics


@PATTERNS.row("InputHandler.handle_export_dir(folder, auto_cleanup), parse_export_feat(text)", "cympyc1785")
def handle_export_dir(scene: Scene) -> None:
    from depth_anything_3.services.input_handlers import InputHandler, VideoHandler, parse_export_feat

    out = scene.folder / "out"
    assert InputHandler.handle_export_dir(str(out), False) == str(out)
    VideoHandler.process(write_clip(scene.folder / "clip.mp4", 2), out)
    (out / "notes.txt").touch()
    InputHandler.handle_export_dir(out)
    assert (out / "input_images" / "000000.png").is_file()
    InputHandler.handle_export_dir(out, auto_cleanup=True)
    assert [one.name for one in out.iterdir()] == ["notes.txt"]
    assert parse_export_feat("5, 11") == [5, 11]
    assert parse_export_feat("") == []
    with pytest.raises(InvalidInputError, match="numbers of layers"):
        parse_export_feat("last")


# The command


@PATTERNS.row("python -m depth_anything_3.cli", "four scripts")
def run_module(scene: Scene) -> None:
    for module in ("depth_anything_3", "depth_anything_3.cli"):
        command = [sys.executable, "-m", module, "--version"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"da3 {__version__}\n"


@pytest.mark.parametrize("one", [pytest.param(one, id=one.call) for one in PATTERNS])
def test_pattern(scene, one):
    one.check(scene)


# What is refused


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"net": SMALL_CONFIG["net"] | {"out_layers": [2, 5, 8, 11]}}, UnsupportedError, id="other layers"),
        pytest.param({"head": SMALL_CONFIG["head"] | {"use_bn": True}}, UnsupportedError, id="another option"),
        pytest.param({"gs_head": {}}, UnsupportedError, id="another head"),
    ],
)
def test_a_network_that_is_not_published_is_refused(change, error):
    from depth_anything_3.cfg import create_object

    with pytest.raises(error, match=r"MODEL_REGISTRY\[name\]"):
        create_object(SMALL_CONFIG | change)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"model_name": "da3-small", "config": LARGE_CONFIG}, "the network of da3-large", id="two"),
        pytest.param({"model_name": "my-model"}, "model_name='my-model'", id="unknown"),
        pytest.param({"model_name": "da3-small", "depth": 6}, "the entries depth", id="more"),
        pytest.param(["da3-small"], "is a list", id="a list"),
    ],
)
def test_a_configuration_that_cannot_be_used_says_why(config, message):
    from depth_anything_3.cfg import create_object

    with pytest.raises(DA3Error, match=message):
        create_object(config)


def test_a_file_of_a_configuration_is_refused(tmp_path):
    from depth_anything_3.cfg import load_config

    with pytest.raises(UnsupportedError, match=r"da3-base\.yaml: files of configurations are not read"):
        load_config(tmp_path / "da3-base.yaml")


def test_a_workspace_that_ignores_orientations_is_refused(tmp_path):
    from depth_anything_3.services.input_handlers import ColmapHandler

    exif = Image.Exif()
    exif[0x0112] = 6
    write_workspace(tmp_path, Image.new("RGB", SIZE[::-1]), exif=exif)
    with pytest.raises(UnsupportedError, match="use da3 colmap"):
        ColmapHandler.process(tmp_path)


def test_files_that_a_clean_up_keeps_are_listed(tmp_path, caplog):
    from depth_anything_3.services.input_handlers import InputHandler

    (tmp_path / "notes.txt").touch()
    with caplog.at_level(logging.WARNING):
        InputHandler.handle_export_dir(tmp_path, auto_cleanup=True)
    assert caplog.messages == [f"{tmp_path}: kept notes.txt, which no manifest lists as results"]
