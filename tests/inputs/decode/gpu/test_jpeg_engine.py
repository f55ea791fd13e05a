from __future__ import annotations

import ctypes.util

import pytest
import torch

from depth_anything_3.inputs.decode.gpu import jpeg_engine
from depth_anything_3.inputs.decode.gpu.jpeg_engine import jpeg_engines, missing_engine, nvjpeg_version


class Function:
    """Stands in for a function of a `ctypes` library."""

    def __init__(self, call) -> None:
        self.call, self.argtypes = call, None

    def __call__(self, *arguments):
        assert len(arguments) == len(self.argtypes)
        return self.call(*arguments)


class NvJpeg:
    """Stands in for nvJPEG: returns the given answers and counts open handles."""

    def __init__(self, created: int = 0, asked: int = 0, engines: int = 7) -> None:
        self.open = 0

        def create(backend, device_allocator, pinned_allocator, flags, handle):
            assert (backend, device_allocator, pinned_allocator, flags) == (3, None, None, 0)
            self.open += created == 0
            handle._obj.value = 1234
            return created

        def ask(handle, count, cores):
            assert handle.value == 1234
            count._obj.value, cores._obj.value = engines, 1
            return asked

        def destroy(handle):
            assert handle.value == 1234
            self.open -= 1
            return 0

        self.nvjpegCreateEx = Function(create)
        self.nvjpegGetHardwareDecoderInfo = Function(ask)
        self.nvjpegDestroy = Function(destroy)


@pytest.mark.parametrize(
    ("library", "engines"),
    [
        (NvJpeg(engines=7), 7),
        (NvJpeg(engines=0), 0),
        (NvJpeg(created=7), 0),
        (NvJpeg(created=6), None),
        (NvJpeg(asked=8), None),
        (None, None),
    ],
    ids=["seven", "none", "no such backend", "no driver", "no answer", "no nvJPEG"],
)
def test_the_number_of_engines_is_what_the_driver_says(library, engines):
    assert jpeg_engines(0, lambda: library) == engines
    assert library is None or library.open == 0, "every handle is given back"


def test_an_nvjpeg_that_cannot_be_queried_returns_none():
    library = NvJpeg()
    del library.nvjpegGetHardwareDecoderInfo
    assert jpeg_engines(0, lambda: library) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_number_of_engines_is_unknown():
    assert jpeg_engines(0) is None


HERE = ctypes.util.find_library("c")  # a library that can be loaded, as the driver's can where all is well
GONE = "libnvcuvid-is-not-there.so.1"


@pytest.mark.parametrize(
    ("engines", "name", "nvjpeg", "library", "cause", "hint"),
    [
        (0, "NVIDIA H100", object(), GONE, f"{GONE} of the NVIDIA driver", "CAPABILITIES=compute,utility,video"),
        (None, "NVIDIA H100", object(), GONE, "cannot be loaded", "libnvidia-decode"),
        (None, "NVIDIA H100", None, GONE, "cannot be loaded", "libnvidia-decode"),
        (0, "NVIDIA H100 80GB HBM3 MIG 1g.10gb", object(), HERE, "this MIG slice has none", "nvidia-smi mig -lgip"),
        (0, "NVIDIA GeForce RTX 4090", object(), HERE, "this GPU has none", "nothing is wrong"),
        (None, "NVIDIA H100", object(), HERE, "nvJPEG does not answer", "CUDA 11.9"),
        (None, "NVIDIA H100", None, HERE, "nvJPEG was not found", "pip install '.[cuda]'"),
    ],
    ids=["no video capability", "and no answer", "and no nvJPEG", "MIG", "no engine", "no answer", "no nvJPEG"],
)  # fmt: skip
def test_a_missing_engine_has_a_cause_and_a_hint(monkeypatch, engines, name, nvjpeg, library, cause, hint):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(jpeg_engine, "missing_driver_capability", lambda _: None)
    missing = missing_engine(engines, name, lambda: nvjpeg, library)
    assert cause in missing.cause
    assert hint in missing.hint


def test_a_container_without_the_video_capability_is_named_as_the_cause(monkeypatch):
    monkeypatch.setenv("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")
    missing = missing_engine(0, "NVIDIA H100", lambda: object(), GONE)
    assert missing.cause.endswith("cannot be loaded: NVIDIA_DRIVER_CAPABILITIES=compute,utility lacks 'video'")
    assert missing.hint.startswith("start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility,video")
    assert "CAPABILITIES" not in missing_engine(0, "NVIDIA RTX 4090", lambda: object(), HERE).cause


def test_a_mig_slice_is_also_known_by_its_identifier(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    assert "MIG" in missing_engine(0, "NVIDIA A100", lambda: object(), HERE).cause


def test_where_there_are_engines_nothing_is_missing():
    assert missing_engine(7, "NVIDIA H100", lambda: None, GONE) is None


class Versioned:
    """Says 13.0.2, or fails."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def nvjpegGetProperty(self, which, value):
        value._obj.value = (13, 0, 2)[which]
        return self.status


@pytest.mark.parametrize(
    ("library", "version"), [(None, None), (object(), None), (Versioned(), (13, 0, 2)), (Versioned(1), None)]
)
def test_the_version_of_nvjpeg_is_what_it_says(library, version):
    assert nvjpeg_version(lambda: library) == version
