"""Opening exported files: what each library computes, and files that cannot be used."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest

from depth_anything_3.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    InvalidInputError,
    UnsupportedError,
)
from depth_anything_3.exported.runtimes.open import open_graph
from support.checkpoints import truncate
from support.tiny_graphs import METADATA, write_ir, write_onnx, write_pt2

WRITERS = {
    ".onnx": write_onnx,
    ".xml": lambda path, *given: write_ir(path, *given or (METADATA,), 1.0),
    ".pt2": write_pt2,
}
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 28, 42)).astype(np.float32)


# torch.export imports for seconds.
SUFFIXES = [pytest.param(one, marks=pytest.mark.slow) if one == ".pt2" else one for one in WRITERS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def files(folder):
    return {suffix: WRITERS[suffix](folder / f"mean{suffix}") for suffix in (".onnx", ".xml")}


def file_of(folder, suffix):
    """A file of this kind, written once."""
    path = folder / f"mean{suffix}"
    return path if path.is_file() else WRITERS[suffix](path)


@pytest.mark.parametrize(
    ("suffix", "runtime", "name", "provider"),
    [
        (".onnx", None, "onnxruntime", "CPUExecutionProvider"),
        (".onnx", "openvino", "openvino", "CPU"),
        (".xml", None, "openvino", "CPU"),
        pytest.param(".pt2", None, "torch", "cpu", marks=pytest.mark.slow),
    ],
)
def test_each_library_computes_the_file(folder, suffix, runtime, name, provider):
    graph = open_graph(file_of(folder, suffix), runtime)
    assert (graph.name, graph.provider, graph.metadata) == (name, provider, METADATA)
    for images in (IMAGES, np.asfortranarray(IMAGES)):
        found = graph.run({"image": images})
        assert list(found) == ["depth"]
        np.testing.assert_allclose(found["depth"], IMAGES.mean(axis=1), atol=1e-6)
    graph.close()


def test_results_stay_when_the_next_images_of_another_size_are_computed(files):
    for suffix in (".onnx", ".xml"):
        graph = open_graph(files[suffix])
        first = graph.run({"image": IMAGES})["depth"]
        kept = first.copy()
        assert graph.run({"image": IMAGES[:1, :, :14]})["depth"].shape == (1, 14, 42)
        assert graph.run({"image": np.zeros((3, 3, 56, 56), np.float32)})["depth"].shape == (3, 56, 56)
        np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_another_program_is_refused(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"other{suffix}", None)
    with pytest.raises(CheckpointFormatError, match=rf"other{suffix}: not a model that this package exported"):
        open_graph(path)


@pytest.mark.parametrize("cut", [0, -40])
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".bin"])
def test_a_truncated_file_is_named(folder, tmp_path, suffix, cut):
    whole = file_of(folder, suffix.replace(".bin", ".xml"))
    for one in {whole, whole.with_suffix(".bin") if whole.suffix == ".xml" else whole}:
        (tmp_path / one.name).write_bytes(one.read_bytes())
    truncate(tmp_path / f"mean{suffix}", cut if suffix != ".bin" else 0)
    path = tmp_path / f"mean{suffix.replace('.bin', '.xml')}"
    with pytest.raises(CheckpointFormatError, match=rf"^{path}.*truncated, damaged"):
        open_graph(path)


def test_what_cannot_be_opened_is_explained(files, tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"none\.onnx: there is no such file"):
        open_graph(tmp_path / "none.onnx")
    with pytest.raises(InvalidInputError, match=r"ends with \.onnx, \.xml, \.pt2"):
        open_graph(tmp_path / "model.engine")
    with pytest.raises(InvalidInputError, match=r"runtime='onnxruntime' does not run mean\.xml; choose 'openvino'"):
        open_graph(files[".xml"], "onnxruntime")
    with pytest.raises(UnsupportedError, match=r"providers=\['CUDAExecutionProvider'\]: this ONNX Runtime has"):
        open_graph(files[".onnx"], providers=["CUDAExecutionProvider"])
    with pytest.raises(UnsupportedError, match=r"OpenVINO cannot use this device .* this machine has CPU"):
        open_graph(files[".xml"], providers=["GPU"])
    with pytest.raises(InvalidInputError, match="give one device of OpenVINO"):
        open_graph(files[".xml"], providers=["CPU", "GPU"])


@pytest.mark.parametrize(("suffix", "extra"), [(".onnx", "onnx"), (".xml", "openvino")])
def test_without_the_library_the_error_says_how_to_install_it(files, monkeypatch, suffix, extra):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UnsupportedError, match=rf"is not installed; run pip install '\.\[{extra}\]'"):
        open_graph(files[suffix])
