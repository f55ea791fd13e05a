"""Decode JPEG files on NVIDIA GPUs with nvImageCodec.

It uses the GPU's JPEG engines if it has any, else its multiprocessors; interpolates chroma as libjpeg does; and a bad
file does not fail the batch. On the device "cpu" the same calls run on the CPU.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.batch_fallback import check_stored_size, error_summary
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits, memory_budget
from depth_anything_3.inputs.decode.gpu.jpeg_engine import load_nvjpeg, nvjpeg_version
from depth_anything_3.inputs.decode.gpu.output_guard import OutputGuard
from depth_anything_3.inputs.decode.gpu.pinned_files import PinnedFiles
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.runtime.cuda_events import record_event, wait_for_stream
from depth_anything_3.runtime.packages import install_hint, package_version, require_min_version
from depth_anything_3.runtime.threads import usable_cores

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "NvImageCodecDecoder", "find"]

NAME = "nvimgcodec"
_EXACT_NVJPEG = 13  # major version
_DISTRIBUTIONS = ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12")
_MIN_THREADS, _MAX_THREADS = 4, 8  # each thread has nvJPEG states of its own; the library's default is one per core


def find(device_type: str) -> DecoderTraits:
    """Describe the installed decoder without importing it.

    Raises:
        UnsupportedError: it is not installed or too old, or the nvJPEG that it needs on a GPU is missing.
    """
    version = package_version(NAME, extra="cuda", distributions=_DISTRIBUTIONS)
    require_min_version(
        NAME, version, (0, 9), why="older versions have no CPU-only device or cannot reuse memory", extra="cuda"
    )
    if device_type == "cuda" and load_nvjpeg() is None:
        raise UnsupportedError(f"{NAME} does not find nvJPEG; {install_hint('cuda')}")
    return DecoderTraits(NAME, version, exact=device_type != "cuda" or _rounds_as_libjpeg())


def _rounds_as_libjpeg() -> bool:
    """Whether nvJPEG can be expected to stay within the levels that `EXACT` allows its decoders.

    CUDA 13.0 changed the rounding of its transform, chroma sampling and colour conversion; older versions have not been
    compared with libjpeg.
    """
    version = nvjpeg_version(load_nvjpeg)
    return version is None or version[0] >= _EXACT_NVJPEG


_OPTIONS = ":fancy_upsampling=1 nvjpeg_hw_decoder:force_batch_single=1"
"""Chroma as libjpeg's; and one call of nvJPEG per file for the JPEG engines: for a batch, nvJPEG has one status, which
the library reports for every file, also for those that the engine skipped."""
_OUTPUT_SETS = 2


@dataclass(eq=False)
class _Output:
    """An image of the library, whose memory is reused.

    Attributes:
        image: nvimgcodec.Image, which has no type information.
        memory: all of its memory when it was last wiped, which can be larger than its pixels, as (bytes,) uint8.
        written: bytes at its beginning that may have been written since.
    """

    image: Any
    memory: torch.Tensor | None = None
    written: int = 0

    @property
    def wiped_bytes(self) -> int:
        """Size of its memory when it was last wiped; another size means that it was replaced."""
        return 0 if self.memory is None else self.memory.numel()


@dataclass(eq=False)
class _OutputSet:
    """The outputs of a call.

    Attributes:
        outputs: all of them.
        used: those that the latest call with this set has written.
        wiped: event after the work that read and wiped them.
    """

    outputs: list[_Output] = field(default_factory=list)
    used: list[_Output] = field(default_factory=list)
    wiped: torch.cuda.Event | None = None


class NvImageCodecDecoder:
    """A `GPUDecoder` on nvImageCodec.

    Its memory is reused: each output grows to the largest image that it has held. It has two sets of outputs in turn,
    so that a call may begin while work on the previous call's pixels is still queued: it waits for the call before
    that. The pixels must be read on the stream that is current during the calls. When the outputs of a set together
    would pass its half of `memory_budget`, they are released first.

    Memory is wiped (`guard`) after each use. The library allocates only while it decodes, and what it allocates may
    hold an earlier image; so files that need larger memory are decoded twice.

    Args:
        device: a CUDA device, or "cpu".
        pinned: copy the files into page-locked memory first. `benchmarks/gpu_suite.py` compares both; until it has run
            on a GPU, the default is the simpler way.

    Raises:
        UnsupportedError: the library is missing, too old, or does not run on this device.
    """

    def __init__(self, device: torch.device, *, pinned: bool = False) -> None:
        self._traits = find(device.type)
        self._device = device
        # The library logs files that it rejects, and each optional library that is absent, as errors.
        os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
        try:
            from nvidia import nvimgcodec

            self._budget = memory_budget(device)
            self._decoder = _create(nvimgcodec, device)
        except (ImportError, RuntimeError) as error:
            raise UnsupportedError(f"{NAME} is not usable on {device}: {error_summary(error, NAME)}") from error
        self._params = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)
        self._pinned = PinnedFiles(device) if pinned else None
        self._code_stream = nvimgcodec.CodeStream
        self._sets = _new_sets()  # the last one is of the latest call
        self._files: list[Any] = []  # or the library's streams of their copies
        self.guard = OutputGuard(device)

    @property
    def traits(self) -> DecoderTraits:
        """The decoder's description."""
        return self._traits

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch at full size, on the device's current stream. See `GPUDecoder.decode`."""
        if not files:
            return []
        self._wipe(self._sets[-1])
        self._sets.rotate()
        current = self._sets[-1]
        if current.wiped is not None:
            current.wiped.synchronize()  # the engines write without waiting for the stream
        # The library accepts no memoryview. Keep the files until the next call: their upload may outlast this one.
        self._files = [bytes(data) if isinstance(data, memoryview) else data for data in files]
        if self._pinned is not None:
            self._files = [self._code_stream(view) for view in self._pinned(self._files)]
        results: list[torch.Tensor | str] = [f"{NAME} could not decode the file"] * len(files)
        try:
            outputs = self._wiped_outputs(current, self._files, headers)
            images = self._call([self._files[index] for index in outputs], list(outputs.values()))
        except RuntimeError as error:  # such as out of GPU memory
            wait_for_stream(self._device)  # new outputs may get the memory of those that are dropped here
            self._sets = _new_sets()
            return [error_summary(error, NAME)] * len(files)
        for (index, output), image in zip(outputs.items(), images, strict=True):
            if image is not None and image.capacity == output.wiped_bytes:  # else its memory is new, and was not wiped
                results[index] = check_stored_size(self._view(image), headers[index], NAME)
        return results

    def close(self) -> None:
        """Release the decoder's memory."""
        self._sets, self._files, self._decoder, self._pinned = _new_sets(), [], None, None

    def _wiped_outputs(
        self, current: _OutputSet, files: Sequence[Any], headers: Sequence[ImageHeader]
    ) -> dict[int, _Output]:
        """Return index -> wiped output, large enough unless the file cannot be decoded or its header is wrong."""
        sizes = [3 * header.stored_hw[0] * header.stored_hw[1] for header in headers]
        largest_first = sorted(range(len(files)), key=sizes.__getitem__, reverse=True)
        current.outputs.sort(key=lambda one: one.wiped_bytes, reverse=True)
        needed = [*(sizes[index] for index in largest_first), *[0] * len(current.outputs)]
        held = [*(one.wiped_bytes for one in current.outputs), *[0] * len(files)]
        if sum(map(max, needed, held)) > self._budget // _OUTPUT_SETS:
            current.outputs, current.used = [], []
        assigned = dict(zip(largest_first, current.outputs, strict=False))
        missing = largest_first[len(assigned) :]
        small = [index for index, output in assigned.items() if output.wiped_bytes < sizes[index]]
        if small:
            self._call([files[index] for index in small], [assigned[index] for index in small])
        for index, image in zip(missing, self._call([files[index] for index in missing], None), strict=True):
            if image is not None:
                assigned[index] = _Output(image)
                current.outputs.append(assigned[index])
        current.used = list(assigned.values())
        if small or missing:
            self._wipe(current)
            wait_for_stream(self._device)
        for index, output in assigned.items():
            output.written = sizes[index]
        return assigned

    def _call(self, files: list[Any], outputs: list[_Output] | None) -> list[Any]:
        """Decode files into outputs, or into new images; return an image or None for each."""
        if not files:
            return []
        images = None if outputs is None else [output.image for output in outputs]
        return list(self._decoder.decode(files, images=images, params=self._params, cuda_stream=self._current_stream()))

    def _wipe(self, outputs: _OutputSet) -> None:
        """Wipe what was written, after the work queued on the current stream."""
        for output in outputs.used:
            if output.memory is None or output.image.capacity != output.wiped_bytes:
                output.memory = self._memory(output.image)
                output.written = output.wiped_bytes
            self.guard.wipe(output.memory, output.written)
            output.written = 0
        outputs.wiped = record_event(self._device)

    def _current_stream(self) -> int:
        import torch

        return torch.cuda.current_stream(self._device).cuda_stream if self._device.type == "cuda" else 0

    def _view(self, image: Any) -> torch.Tensor:
        """Return an image's pixels without a copy.

        Uses the array interfaces instead of DLPack, which calls the CUDA runtime even on the CPU, and which older
        versions allow only once per image.
        """
        import torch

        if self._device.type == "cuda":
            return torch.as_tensor(image, device=self._device)
        return torch.from_numpy(np.asarray(image))

    def _memory(self, image: Any) -> torch.Tensor:
        """Return all of an image's memory as (bytes,) uint8."""
        import torch

        on_gpu = self._device.type == "cuda"
        interface = image.__cuda_array_interface__ if on_gpu else image.__array_interface__
        memory = _Memory({"data": interface["data"], "shape": (image.capacity,), "typestr": "|u1", "version": 3})
        return torch.as_tensor(memory, device=self._device) if on_gpu else torch.from_numpy(np.asarray(memory))


class _Memory:
    """Memory described by the array interfaces."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = self.__cuda_array_interface__ = interface


def _new_sets() -> deque[_OutputSet]:
    return deque(_OutputSet() for _ in range(_OUTPUT_SETS))


def _create(nvimgcodec: Any, device: torch.device) -> Any:
    """Create the library's decoder; both are untyped."""
    import torch

    kind = nvimgcodec.BackendKind
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        # Not CPU_ONLY: this package's CPU decoders handle what the GPU cannot decode, and the result records it.
        kinds = [kind.HW_GPU_ONLY, kind.GPU_ONLY, kind.HYBRID_CPU_GPU]
    else:
        index = nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY
        kinds = [kind.CPU_ONLY]
    return nvimgcodec.Decoder(
        device_id=index,
        max_num_cpu_threads=_decoder_threads(),
        backends=[nvimgcodec.Backend(one) for one in kinds],
        options=_OPTIONS,
    )


def _decoder_threads() -> int:
    """Return the size of the library's thread pool: 4 to 8, but no more than the machine has cores."""
    return min(os.cpu_count() or 1, max(_MIN_THREADS, min(usable_cores(), _MAX_THREADS)))
