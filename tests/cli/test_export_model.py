"""`da3 export-model` and `da3 doctor --model`: a file appears if it is right, and is found wrong where it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics import exported_model
from depth_anything_3.errors import ExportError
from depth_anything_3.exported import verify_file, write
from depth_anything_3.exported.runtimes import installed
from depth_anything_3.exported.runtimes.runtime import RuntimeName
from depth_anything_3.exported.specification import GraphMetadata
from depth_anything_3.exported.weights import weights_hash
from depth_anything_3.inference import export_model as exporting
from support.command import DONE, FAILURES, MISUSE
from support.fake_graphs import FakeExport
from support.seeded_values import seeded_images_uint8

NANO = ("--model-dir", "da3-nano", "--size", "28x42")


def break_depth(found):
    found["depth"] = found["depth"] * np.float32(1.01)


@pytest.fixture
def fake(monkeypatch) -> FakeExport:
    """Exports that torch runs, where ONNX Runtime alone is installed; small images stand for the bundled ones."""
    made = FakeExport()
    for module in (exporting, exported_model):
        monkeypatch.setattr(module, "bundled_images", lambda: list(seeded_images_uint8(3, 28, 42, seed=1)))
    monkeypatch.setattr(write, "write_model", made.write)
    monkeypatch.setattr(installed, "open_graph", made.open)
    monkeypatch.setattr(installed, "_is_installed", lambda runtime: runtime is RuntimeName.ONNXRUNTIME)
    monkeypatch.setattr(verify_file, "available_providers", lambda runtime: ("CPU", "Fast"))
    return made


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_model_is_exported_and_compared(da3, fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = da3("export-model", *NANO, "--dynamic", "batch")
    assert (run.code, run.err) == (DONE, "")
    assert names(tmp_path) == ["da3-nano.onnx", "da3-nano.onnx.data"]
    assert "compared with da3-nano in torch, float32" in run.out
    assert "onnxruntime (CPU)" in run.out
    assert "written to da3-nano.onnx" in run.out
    metadata = GraphMetadata.from_json(Path("da3-nano.onnx").read_text())
    assert (metadata.size_hw, metadata.dynamic.value, metadata.licence) == ((28, 42), "batch", "Apache-2.0")
    assert metadata.weights_sha256 == weights_hash(DepthAnything3.from_pretrained("da3-nano", "cpu").model)


def test_a_wrong_file_does_not_appear(da3, fake, tmp_path):
    target = tmp_path / "model.onnx"
    target.write_text("mine")
    fake.change = break_depth
    run = da3("export-model", *NANO, "-o", target, "-y", "--json")
    assert run.code == FAILURES
    found = json.loads(run.out)
    assert not found["ok"]
    depth = [one for one in found["cases"] if one["output"] == "depth"]
    assert [(one["size_hw"], one["batch"], one["runtime"]) for one in depth] == [([28, 42], 1, "onnxruntime")]
    assert depth[0]["max_error"] == pytest.approx(0.01, rel=1e-3)
    assert names(tmp_path) == ["model.onnx"]
    assert target.read_text() == "mine"
    run = da3("export-model", *NANO, "-o", target, "-y")
    assert run.code == FAILURES
    assert "depth wrong" in run.out
    assert "not written" in run.out


def test_the_method_raises_what_failed(fake, tmp_path):
    model = DepthAnything3.from_pretrained("da3-nano", "cpu")
    fake.change = break_depth
    steps: list[str] = []
    with pytest.raises(
        ExportError, match=r"28x42, batch 1, 1 view.*, depth: largest relative error 1\.0e-02"
    ) as raised:
        model.export_model(tmp_path / "m.onnx", size=(28, 42), on_progress=steps.append)
    assert str(tmp_path / "m.onnx") in str(raised.value)
    assert names(tmp_path) == []
    assert steps[0] == "exporting da3-nano to m.onnx"
    assert steps[-1] == "verifying 28x42, batch 1"
    written = model.export_model(tmp_path / "m.onnx", size="28x42", verify=False)
    assert (written.ok, written.cases) == (True, ())
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]


def test_own_images_are_compared_too(fake, tmp_path):
    model = DepthAnything3.from_pretrained("da3-nano", "cpu")
    own = seeded_images_uint8(1, 28, 42, seed=9)[0]
    model.export_model(tmp_path / "m.onnx", size=(28, 42), input="uint8", dynamic="batch", verify=[own])
    one, three = fake.opened[0].seen
    np.testing.assert_array_equal(one[0], own)
    assert (one.shape, three.shape) == ((1, 28, 42, 3), (3, 28, 42, 3))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "torchscript"], "--format torchscript is unknown; choose 'onnx', 'openvino' or 'pt2'"),
        (["--dynamic", "x"], "--dynamic x is unknown; choose 'none', 'batch' or 'all'"),
        (["--dtype", "half"], "--dtype half is unknown; choose 'float32'"),
        (["--input", "rgb"], "--input rgb is unknown; choose 'normalised' or 'uint8'"),
        (["--outputs", "depth,normals"], "--outputs normals is unknown; choose 'depth'"),
        (["--size", "504"], "--size 504: give HEIGHTxWIDTH in multiples of 14"),
        (["--size", "100x504"], "size 100x504: give height and width in multiples of 14"),
        (["--views", "0"], "--views 0: give a whole number, 1 or more, or dynamic"),
        (["-o", "model.bin"], "model.bin: the suffix '.bin' is unknown; give one of .onnx (onnx), .xml (openvino)"),
        (["-o", "model.onnx", "--format", "pt2"], "the suffix '.onnx' is not that of the format; give .pt2 (pt2)"),
        (["--verify", "a.jpg", "--no-verify"], "--verify and --no-verify exclude each other"),
        (["-o", "there.onnx"], "there.onnx: exists; pass --overwrite to replace it, or name another file"),
        (["-o", "folder.onnx"], "folder.onnx: a folder; name a file in it"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_misuse_is_refused_before_anything_is_exported(da3, fake, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("mine")
    Path("folder.onnx").mkdir()
    run = da3("export-model", "--model-dir", "da3-nano", *flags)
    assert run.code == MISUSE
    assert message in run.err
    assert fake.network is None


def test_without_a_library_that_runs_it_nothing_is_exported(da3, fake, tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "_is_installed", lambda runtime: False)
    run = da3("export-model", *NANO, "-o", tmp_path / "m.xml")
    assert run.code == MISUSE
    assert "verifying it needs openvino, which is not installed; run pip install '.[openvino]'" in run.err
    assert fake.network is None
    assert da3("export-model", *NANO, "-o", tmp_path / "m.xml", "--no-verify").code == DONE


def test_an_unreadable_image_writes_nothing(da3, fake, photos, tmp_path):
    run = da3("export-model", *NANO, "-o", tmp_path / "m.onnx", "--verify", photos / "b.png")
    assert run.code == FAILURES
    assert "b.png" in run.err
    assert names(tmp_path) == []


def test_doctor_finds_a_provider_that_computes_something_else(da3, fake, tmp_path):
    target = tmp_path / "m.onnx"
    da3("export-model", *NANO, "-o", target)
    run = da3("doctor", "--model", target)
    assert run.code == DONE
    assert "compared with da3-nano in torch, float32" in run.out
    assert "onnxruntime (CPU)" in run.out
    assert "onnxruntime (Fast)" in run.out
    fake.change = break_depth
    run = da3("doctor", "--model", target, "--json")
    assert run.code == FAILURES
    assert {one["provider"] for one in json.loads(run.out)["cases"] if one["problem"]} == {"CPU", "Fast"}


def test_doctor_without_the_weights_uses_the_stored_results(da3, fake, tmp_path):
    target = tmp_path / "m.onnx"
    da3("export-model", *NANO, "-o", target)
    other = GraphMetadata.from_json(target.read_text()).to_json().replace('"weights_sha256": "', '"weights_sha256": "f')
    target.write_text(other)  # the weights at hand are not those of the file
    run = da3("doctor", "--model", target)
    assert run.code == DONE
    assert "compared with results stored in the file" in run.out
    run = da3("doctor", "--model", target, "--model-dir", "da3-nano")
    assert run.code == MISUSE
    assert "its weights are not those that" in run.err
    run = da3("doctor", "--model", target, "--verify", "a.jpg")
    assert run.code == MISUSE
    assert "pass --model-dir with the checkpoint" in run.err
    fake.change = break_depth
    assert da3("doctor", "--model", target).code == FAILURES


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--model", "m.onnx", "--calibrate"], MISUSE, "--model and --calibrate exclude each other"),
        (["--verify", "a.jpg"], MISUSE, "add --model FILE"),
        (["--model", "m.bin"], MISUSE, "m.bin: not an exported model; give a file that ends with .onnx, .xml, .pt2"),
        (["--model", "nothere.onnx"], FAILURES, "nothere.onnx: there is no such file"),
    ],
)
def test_misuse_of_doctor_is_refused(da3, flags, code, message):
    run = da3("doctor", *flags)
    assert run.code == code
    assert message in run.err


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(["-o", "m.onnx", "--dynamic", "all"], marks=pytest.mark.slow),
        pytest.param(["-o", "m.xml", "--input", "uint8"], marks=pytest.mark.long),
        pytest.param(["-o", "m.pt2"], marks=pytest.mark.long),
    ],
)
def test_the_bundled_model_is_exported(da3, tmp_path, monkeypatch, flags):
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    began = time.perf_counter()
    run = da3("export-model", "--model-dir", "da3-nano", *flags, "--json")
    assert run.code == DONE, run.out + run.err
    found = json.loads(run.out)
    assert max(one["max_error"] for one in found["cases"]) < 1e-4
    print(f"da3-nano {' '.join(flags)}: {time.perf_counter() - began:.0f} s")
    run = da3("doctor", "--model", flags[1], "--json")
    assert run.code == DONE, run.out + run.err
