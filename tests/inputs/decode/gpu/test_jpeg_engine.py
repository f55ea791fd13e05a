from __future__ import annotations

import pytest
import torch

from depth_anything_3.inputs.decode.gpu.jpeg_engine import jpeg_engines


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
