"""The scripts of examples/ run end to end, and so does the Python of docs/quickstart.md; its commands exist."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import trimesh
import typer
from PIL import Image
from plyfile import PlyData

from depth_anything_3.api import DepthAnything3
from depth_anything_3.cli import app
from depth_anything_3.prediction import Prediction
from support.clips import write_clip
from support.colmap_workspace import write_workspace
from support.room_clip import room_clip
from support.seeded_values import seeded_images_uint8

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
PAGES = [EXAMPLES.parent / "docs" / name for name in ("quickstart.md", "upstream.md")]
COMMANDS = sorted(
    {line for page in PAGES for line in re.findall(r"^da3 [^#\n]+", page.read_text("utf-8"), re.MULTILINE)}
)
NANO = ["--model-dir", "da3-nano"]
FOCAL_LENGTH_35MM = 0xA405


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script in this process and returns what it printed."""

    def run_script(script: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return run_script


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Two small JPEGs with a 35 mm equivalent focal length in their EXIF blocks."""
    folder = tmp_path_factory.mktemp("photos")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[FOCAL_LENGTH_35MM] = 26
    paths = [folder / "a.jpg", folder / "b.jpg"]
    for path, pixels in zip(paths, seeded_images_uint8(2, 56, 84, seed=4), strict=True):
        Image.fromarray(pixels).save(path, exif=exif)
    return paths


@pytest.fixture
def metric_model(monkeypatch):
    """The bundled network under the name of the metric model, whose weights are too large for a test."""
    model = DepthAnything3.from_pretrained("da3-nano")
    model.model_name = "da3metric-large"
    monkeypatch.setattr(DepthAnything3, "from_pretrained", lambda model_dir: model)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_short_and_says_how_to_run_it(script):
    text = (EXAMPLES / script).read_text(encoding="utf-8")
    assert f"\npython examples/{script} " in text
    assert len(text.splitlines()) <= 80


def test_image_to_png(run, photos, tmp_path):
    output = tmp_path / "depth.png"
    assert "224x154" in run("image_to_png.py", photos[0], output, *NANO)
    with Image.open(output) as depth:
        assert (depth.mode, depth.size) == ("RGB", (224, 154))


def test_folder_with_progress(run, photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in photos:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.jpg").write_bytes(photos[0].read_bytes()[:300])
    printed = run("folder_with_progress.py", folder, "--output", tmp_path / "depth", *NANO)
    assert "2/3 b" in printed
    assert "failed: " in printed
    assert "broken.jpg" in printed
    depth = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((tmp_path / "depth").rglob("*.png"))]
    assert [(one.dtype, one.shape) for one in depth] == [("uint16", (154, 224))] * 2


def test_views_to_glb(run, photos, tmp_path, small_checkpoint):
    printed = run("views_to_glb.py", *photos, "--output", tmp_path, "--model-dir", small_checkpoint)
    assert "2 views" in printed
    assert printed.count("camera centre") == 2
    assert trimesh.load(tmp_path / "scene.glb").geometry


def test_smooth_video(run, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    run("smooth_video.py", clip, tmp_path / "depth.mp4", *NANO)
    with av.open(str(tmp_path / "depth.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(224, 168)] * 3


def test_own_network(run, photos):
    printed = run("own_network.py", *photos, "--process-res", 84)
    assert "input (2, 3, 56, 84), output (2, 1, 4, 6)" in printed


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        pytest.param([], "Exif, 35 mm equivalent", id="EXIF"),
        pytest.param(["--fov", 68], "given field of view", id="field of view"),
    ],
)
@pytest.mark.usefixtures("metric_model")
def test_metric_depth(run, photos, options, origin):
    printed = run("metric_depth.py", photos[0], *options)
    assert f"from {origin}" in printed
    assert " m, centre " in printed


def test_metric_depth_of_another_model_names_those_that_can(run, photos):
    with pytest.raises(SystemExit, match="da3metric-large"):
        run("metric_depth.py", photos[0], *NANO)


def test_colmap_to_gaussians(run, tmp_path, small_checkpoint):
    workspace = write_workspace(tmp_path)
    options = ["--process-res", 112, "--model-dir", small_checkpoint]
    printed = run("colmap_to_gaussians.py", workspace, "--output", tmp_path / "init.ply", *options)
    assert "3 of 4 images have a pose" in printed
    vertices = PlyData.read(str(tmp_path / "init.ply"))["vertex"]
    assert 100 < len(vertices) < 3 * 84 * 112
    assert [one.name for one in vertices.properties[6:11]] == ["f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0"]
    np.testing.assert_allclose(vertices["opacity"], np.log(0.1 / 0.9), rtol=1e-5)
    np.testing.assert_array_equal(vertices["rot_0"], 1)


def test_gaussians_of_a_known_room_are_on_its_surfaces_and_one_in_a_voxel():
    clip = room_clip(3, (48, 64), step=(0.2, 0, 0), turn=0.02)
    conf = np.where(clip.images[..., 0] > 0, 2.0, 1.0).astype(np.float32)
    conf[1:] = 1.5  # the first view is preferred
    scene = Prediction(
        clip.depth, conf=conf, extrinsics=clip.extrinsics, intrinsics=clip.intrinsics, processed_images=clip.images
    )
    make_gaussians = runpy.run_path(str(EXAMPLES / "colmap_to_gaussians.py"))["make_gaussians"]
    gaussians = make_gaussians(scene, 0, 0.25)
    x, y, z = gaussians.means.T
    away = np.min([np.abs(y - 1.5), np.abs(x + 3), np.abs(x - 4), np.abs(z - 9)], axis=0)
    assert np.mean(away < 0.12) > 0.8  # the others are on the balls; pixels are unprojected by their corners
    assert len(x) < np.count_nonzero(clip.depth) / 2
    alone = make_gaussians(replace(scene, conf=conf[:1], depth=clip.depth[:1]), 0, 0.25).means
    assert len(alone) < len(x) < 1.5 * len(alone), "the views overlap"
    pixel = 9 / 64  # metres, of the far wall
    np.testing.assert_allclose(gaussians.scales.max(), max(pixel, 0.25) / 2, rtol=0.2)
    np.testing.assert_allclose(0.5 + 0.28209479 * gaussians.harmonics, 128 / 255)


def test_video_to_points_with_cameras_merges_the_frames(run, tmp_path, small_checkpoint):
    clip = write_clip(tmp_path / "clip.mp4", frames=6)
    options = ["--fps", 30, "--max-views", 2, "--process-res", 56, "--model-dir", small_checkpoint]
    assert "2 frames as views of one scene" in run("video_to_points.py", clip, "--output", tmp_path, *options)
    assert len(trimesh.load(tmp_path / "scene.ply").vertices) > 100


def test_video_to_points_without_cameras_writes_a_file_per_frame(run, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=6)
    printed = run("video_to_points.py", clip, "--output", tmp_path, "--fps", 15, "--process-res", 56, *NANO)
    assert "predicts no cameras" in printed
    files = sorted(path.name for path in (tmp_path / "ply").iterdir())
    assert len(files) == printed.count(" s\n") >= 2
    assert files[0] == "000000.ply"


def test_measure_object_of_a_known_room(run, photos, monkeypatch):
    clip = room_clip(1, (100, 200), step=(0, 0, 0), turn=0)
    room = Prediction(clip.depth, is_metric=1, source_hw=((200, 400),), source_scale=((0.5, 0.5),))
    model = SimpleNamespace(depth=lambda images: [room])
    monkeypatch.setattr(DepthAnything3, "from_pretrained", lambda model_dir: model)
    pixels = [(12, 196), (380, 190)]  # on the floor, 1.5 m below the camera
    arguments = ["--from", *pixels[0], "--to", *pixels[1], "--focal", 400, "--radius", 1]
    printed = run("measure_object.py", photos[0], *arguments)
    ends = [np.array([(x + 0.5 - 200), (y + 0.5 - 100), 400]) * 1.5 / (y + 0.5 - 100) for x, y in pixels]
    distance, low, high = map(float, re.search(r"distance: (\S+) m, (\S+) to (\S+) m", printed).groups())
    assert distance == pytest.approx(np.linalg.norm(ends[0] - ends[1]), rel=0.02)
    assert low < distance < high
    with pytest.raises(SystemExit, match="400x200"):
        run("measure_object.py", photos[0], *arguments[:-6], 400, 10, "--focal", 400)


# docs/quickstart.md and docs/upstream.md


def test_the_quickstart_names_every_script():
    named = re.findall(r"^\| `(\w+\.py)` \|", PAGES[0].read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == SCRIPTS


def test_the_python_of_the_quickstart_writes_images(photos, tmp_path, monkeypatch):
    alone, folder = re.findall(r"```python\n(.*?)```", PAGES[0].read_text("utf-8"), re.DOTALL)
    (tmp_path / "photo.jpg").write_bytes(photos[0].read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(alone, {})
    with Image.open("depth.png") as depth:
        assert depth.size == (224, 154)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.jpg").rename("photos/one.jpg")
    exec(folder, {})
    assert sorted(path.name for path in (tmp_path / "out").rglob("one.*")) == ["one.jpg", "one.npz"]


def test_the_call_that_runs_unchanged_runs(photos, tmp_path, monkeypatch, small_checkpoint):
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGES[1].read_text("utf-8"), re.DOTALL)
    for path, name in zip(photos, ("left.jpg", "right.jpg"), strict=True):
        (tmp_path / name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    adapted = snippet.replace("depth-anything/DA3-BASE", str(small_checkpoint)).replace('"cuda"', '"cpu"')
    exec(adapted.replace("=504", "=84"), {})
    assert (tmp_path / "out" / "scene.glb").is_file()


def test_the_modules_that_the_page_says_are_missing_are_missing():
    rows = re.findall(r"^\| (.+?) \| no such modules \|", PAGES[1].read_text("utf-8"), re.MULTILINE)
    names = [name.removeprefix("depth_anything_3.") for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(names) > 10
    assert [name for name in names if is_there(name)] == [], "take them off the list in docs/upstream.md"


def is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"depth_anything_3.{name}") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_pages_has_the_options_that_they_use(line):
    words = shlex.split(line)[1:]
    root = typer.main.get_command(app)
    command = root if words[0].startswith("-") else root.commands[words[0]]
    known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    assert [word for word in words if word.startswith("--") and word not in known] == []
