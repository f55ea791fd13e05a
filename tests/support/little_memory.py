"""A machine that runs out of memory: in every phase, and with the error of every library."""

from __future__ import annotations

import torch

from depth_anything_3.inference import runner
from depth_anything_3.inputs.batch import gpu_assembler
from support.faulty_decoder import FaultyDecoder

SHORTAGES = {
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"),
    "CUDA": RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    "CUDA, outside torch": RuntimeError("CUDA ran out of memory outside PyTorch's allocator. If this workload uses"),
    "CUDA driver": RuntimeError("CUDA driver error: out of memory"),
    "NVDEC": RuntimeError("Failed to create NVDEC decoder: CUDA_ERROR_OUT_OF_MEMORY"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cuBLAS, handle": RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cuDNN 9": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "cuDNN, algorithm": RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    "cuDNN, engine": RuntimeError("FIND was unable to find an engine to execute this computation"),
    "cuDNN, heuristic": RuntimeError("GET was unable to find an engine to execute this computation"),
    "cuFFT": RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    "nvJPEG": RuntimeError("nvjpegDecode failed: 5"),
    "nvJPEG, name": RuntimeError("NVJPEG_STATUS_ALLOCATOR_FAILURE"),
    "nvImageCodec": RuntimeError("CUDA Runtime failure: '#2' at /build/src/device_buffer.cpp:64"),
    "nvImageCodec, nvJPEG": RuntimeError("nvJpeg Runtime failure: '#5'"),
    "nvImageCodec, allocator": RuntimeError("Memory allocator error"),
    "Triton": RuntimeError("Triton Error [CUDA]: out of memory"),
    "Triton on AMD": RuntimeError("Triton Error [HIP]:  Code: 2, Messsage: out of memory"),
    "HIP": RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
    "HIP, name": RuntimeError("HIP error: hipErrorOutOfMemory"),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 2.1 KB"),
    "MPS, buffer": RuntimeError("Invalid buffer size: 24.41 GB"),
    "Metal": RuntimeError("Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"),
    "host, Linux": RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you"),
    "host, Windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes."),
    "host, C++": RuntimeError("std::bad_alloc"),
    "host, errno": RuntimeError("mmap failed: Cannot allocate memory (12)"),
    "Python": MemoryError(),
}  # fmt: skip
"""Library -> its error when memory runs out. The texts are those of the libraries' sources and binaries."""

OTHER_ERRORS = {
    "lost": "CUDA error: unspecified launch failure",
    "address": "CUDA error: an illegal memory access was encountered",
    "Triton": "Triton Error [CUDA]: an illegal memory access was encountered",
    "cuDNN": "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuBLAS": "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
    "nvImageCodec": "CUDA Runtime failure: '#700' at somewhere",
    "MPS": "MPS backend was lost",
}
"""Texts of errors after which a device cannot be used any more."""

UNRELATED = ["nvjpegDecode failed: 15", "shapes do not match", "out of resource: shared memory, Required: 1, Limit: 0"]


class LittleMemory:
    """Raises an error for the first `times` requests, and for each that is for more than `fits` images."""

    def __init__(self, error: Exception = SHORTAGES["CUDA"], *, times: int = 0, fits: int = 99) -> None:
        self._error = error
        self._times = times
        self._fits = fits
        self.asked: list[int] = []
        self.failed = 0

    def ask(self, count: int) -> None:
        self.asked.append(count)
        if self._times > 0 or count > self._fits:
            self._times -= 1
            self.failed += 1
            raise type(self._error)(*self._error.args)


class LittleMemoryDecoder(FaultyDecoder):
    """Asks for memory when it decodes; with `reasons` it returns the error's text for each file, as adapters do."""

    def __init__(self, memory: LittleMemory, *, reasons: bool = False) -> None:
        super().__init__()
        self._memory = memory
        self._reasons = reasons

    def decode(self, files, headers, min_hw):
        try:
            self._memory.ask(len(files))
        except Exception as error:
            if self._reasons:
                return [f"stand-in: {error}"] * len(files)
            raise
        return super().decode(files, headers, min_hw)


class _Torch:
    """Torch, of which one function asks for memory."""

    def __init__(self, memory: LittleMemory) -> None:
        self._memory = memory

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    def empty(self, shape, **options):
        self._memory.ask(shape[0])
        return torch.empty(shape, **options)


def _before(monkeypatch, owner, name, memory, count) -> None:
    """Ask for memory before each call of a function."""
    original = getattr(owner, name)

    def asking(*arguments, **options):
        memory.ask(count(*arguments))
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, asking)


def _resampler(monkeypatch, processor, memory) -> None:
    class Resampler(type(processor._assembler._resampler)):
        def __call__(self, images, *arguments):
            memory.ask(len(images))
            super().__call__(images, *arguments)

    processor._assembler._resampler = Resampler(processor.device)


ASSEMBLY = ("output", "resample", "upload", "normalise")
NETWORK = ("network", "download", "prediction")


def run_out_of_memory(monkeypatch, phase, memory, processor, model=None) -> None:
    """Let a phase of the processor, or of the network, ask for memory."""
    assembler = processor._assembler
    if phase == "output":
        monkeypatch.setattr(gpu_assembler, "torch", _Torch(memory))
    elif phase == "resample":
        _resampler(monkeypatch, processor, memory)
    elif phase == "upload":
        _before(monkeypatch, assembler._staging, "upload", memory, lambda images, *_: len(images))
    elif phase == "normalise":
        _before(monkeypatch, assembler._resampler, "normalize", memory, lambda pixels, slots, _: len(slots))
    elif phase == "network":
        _before(monkeypatch, model.model, "forward", memory, len)
    elif phase == "download":
        _before(monkeypatch, runner, "_on_host", memory, lambda outputs: len(outputs["depth"]))
    else:
        _before(
            monkeypatch,
            type(model._engine.output_processor),
            "__call__",
            memory,
            lambda _self, _outputs, scenes: len(scenes),
        )
