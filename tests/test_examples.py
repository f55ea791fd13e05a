"""The scripts of examples/ run end to end, and so does the Python of docs/quickstart.md; its commands exist."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path

import av
import cv2
import pytest
import trimesh
import typer
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.cli import app
from support.clips import write_clip
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
    assert len(text.splitlines()) <= 40


def test_image_to_png(run, photos, tmp_path):
    output = tmp_path / "depth.png"
    assert "504x336" in run("image_to_png.py", photos[0], output, *NANO)
    with Image.open(output) as depth:
        assert (depth.mode, depth.size) == ("RGB", (504, 336))


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
    assert [(one.dtype, one.shape) for one in depth] == [("uint16", (336, 504))] * 2


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
    assert [(frame.width, frame.height) for frame in frames] == [(504, 378)] * 3


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
        assert depth.size == (504, 336)
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
    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]
    known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    assert [word for word in words if word.startswith("--") and word not in known] == []
