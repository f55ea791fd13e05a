"""The example in JavaScript computes the depth that this package computes, under Node, from the same JPEG."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.exported.specification import ExportSpecification
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs.plan import Planner, describe_plans
from support.images import encoded, exif_block, write

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[1] / "examples" / "javascript"
NODE, NPM = shutil.which("node"), shutil.which("npm")
INSTALL = ["install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
# The decoder of the example rounds in other places than libjpeg, and repeats the nearest chroma sample: the network's
# input differs by one level in many samples. Single pixels may become sky or ground.
MAX_MEAN, MAX_OF_MOST = 0.01, 0.02
"""Of the largest depth: the mean difference, and the largest one of 99.9 % of the pixels."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The example with its packages; skips where they cannot be installed."""
    if NODE is None or NPM is None:
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("example") / "javascript"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    try:
        subprocess.run([NPM, *INSTALL], cwd=folder, check=True, capture_output=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install the packages of the example ({error})")
    return folder


@pytest.fixture(scope="module")
def model() -> DepthAnything3:
    return DepthAnything3.from_pretrained("da3-nano", "cpu")


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    """da3-nano as ONNX, with variable height and width and 8-bit input."""
    pytest.importorskip("onnxscript")
    from depth_anything_3.exported.write import write_model

    path = tmp_path_factory.mktemp("exported") / "da3-nano.onnx"
    write_model(model.model, model.card, ExportSpecification(size_hw=(126, 224), dynamic="all", input="uint8"), path)
    return path


def test_8_bit_images_are_cast_before_anything_else(exported):
    """TensorRT takes them into nothing else."""
    onnx = pytest.importorskip("onnx")
    nodes = onnx.load(exported).graph.node
    assert [one.op_type for one in nodes if "image" in one.input and one.op_type != "Shape"] == ["Cast"]


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NODE), "depth.mjs", *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(("orientation", "sampling"), [(1, "4:4:4"), (6, "4:2:0")])
def test_the_example_computes_the_depth_of_python(folder, model, exported, tmp_path, orientation, sampling):
    jpeg = encoded(
        photo(640, 360, 3),
        "JPEG",
        quality=95,
        exif=exif_block(orientation),
        subsampling=sampling,
    )
    path = write(tmp_path / "photo.jpg", jpeg)
    options = PreprocessOptions(process_res=224)
    plan = describe_plans(Planner(options).files([path], pytest.fail), [], options)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = run(folder, path, tmp_path / "plan.json", exported, tmp_path / "depth")
    assert (done.returncode, done.stderr) == (0, "")
    height, width = plan["images"][0]["target_hw"]
    depth = np.fromfile(tmp_path / "depth.f32", "<f4").reshape(height, width)
    expected = model.depth(path).depth[0]
    assert expected.shape == depth.shape == ((126, 224) if orientation == 1 else (224, 126))
    difference = np.abs(depth - expected) / expected.max()
    assert difference.mean() < MAX_MEAN
    assert np.quantile(difference, 0.999) < MAX_OF_MOST
    words = done.stdout.split()
    assert words[:4] == [f"{width}x{height}", "pixels,", "depth", "from"]
    assert [float(words[4]), float(words[6])] == pytest.approx([depth.min(), depth.max()], rel=1e-4)
    assert (tmp_path / "depth.pgm").read_bytes().startswith(f"P5\n{width} {height}\n65535\n".encode())


def test_a_plan_of_another_image_is_refused(folder, exported, tmp_path):
    path = write(tmp_path / "photo.jpg", encoded(photo(64, 48, 0), "JPEG"))
    options = PreprocessOptions(process_res=224)
    plan = describe_plans([Planner(options).size((120, 160))], [], options)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = run(folder, path, tmp_path / "plan.json", exported, tmp_path / "depth")
    assert done.returncode == 1
    assert "the plan is for 160x120 pixels; make it anew, from this image" in done.stderr
    assert not (tmp_path / "depth.f32").exists()
