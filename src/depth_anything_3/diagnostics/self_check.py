"""A device in, every way into its memory tried on one picture out: how far from the reference, how fast, what fails.

The reference is Pillow's decoder and one OpenCV resize after the other, as upstream prepares its pictures.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo_jpeg
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.processor import BatchProcessor
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu.decoder import GPUDecoder
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.resample.cpu import resample_stepwise
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels
from depth_anything_3.inputs.routing.strategy import Capabilities, RoutingDecision
from depth_anything_3.runtime.devices import synchronize
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor

__all__ = ["EXACT_DECODER_DB", "EXACT_DECODER_LEVELS", "SelfCheck", "self_check"]

_SIZE = (1920, 1080)
_SEED = 5
_RUNS = 5
_MAX_LEVELS = 1  # of an exact way
# Of a GPU decoder that reconstructs chroma as libjpeg does: its own rounding comes on top.
EXACT_DECODER_LEVELS = 2
EXACT_DECODER_DB = 50.0
_MIN_DB = 44.0  # of any other, as `Fidelity.FAST` promises
_ROUNDING = 1e-5  # of normalised values, which lie between -2.12 and 2.64


@dataclass(frozen=True)
class SelfCheck:
    """How one way did on one picture.

    Attributes:
        strategy: of the way.
        tool: its decoder ("nvimgcodec") or resampler ("triton"), where there is a choice.
        exact: whether it promises to be within one level of the reference.
        problem: what is wrong; None if nothing is.
        max_difference: from the reference, in levels of 255.
        psnr_db: likeness to the reference; infinite for equal pixels.
        milliseconds: from a file in memory to one normalised picture on the device, warm; the median of several.
    """

    strategy: Strategy
    tool: str | None
    exact: bool
    problem: str | None = None
    max_difference: int | None = None
    psnr_db: float | None = None
    milliseconds: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the way does what it promises."""
        return self.problem is None


@dataclass(frozen=True)
class _Way:
    """A way to be tried; `open` gives the processor that takes it."""

    strategy: Strategy
    tool: str | None
    exact: bool
    open: Callable[[], BatchProcessor[Any]]  # Any: whatever its images are


def self_check(
    device: torch.device,
    capabilities: Capabilities,
    *,
    open_decoder: Callable[[str, torch.device], GPUDecoder] = open_decoder,
) -> list[SelfCheck]:
    """Take a photo-like JPEG of 1920x1080 every way that this machine has, and compare with the reference.

    Args:
        device: the network's.
        capabilities: of the machine.
        open_decoder: gives the decoder of a name for a device.

    Returns:
        A result for each way; it holds what went wrong, for nothing is raised.
    """
    file = photo_jpeg(*_SIZE, _SEED)
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image.convert("RGB"))
    reference = resample_stepwise(pixels, plan_resize(pixels.shape[:2])).transpose(2, 0, 1)
    results = []
    for way in _ways(device, replace(capabilities, costs=None), open_decoder):
        result = SelfCheck(way.strategy, way.tool, way.exact)
        try:
            result = _compared(result, *_run(way, file, device), reference)
        except Exception as error:  # whatever is broken, a doctor reports it and goes on
            result = replace(result, problem=_first_line(error))
        results.append(result)
    return results


def _ways(
    device: torch.device, capabilities: Capabilities, open_decoder: Callable[[str, torch.device], GPUDecoder]
) -> Iterator[_Way]:
    if capabilities.device_type == "cpu":
        yield _Way(Strategy.CPU, None, True, InputProcessor)
        return

    def processor(resampler: str | None = None, having: Capabilities = capabilities) -> Callable[[], GPUInputProcessor]:
        return lambda: GPUInputProcessor(device, resampler=resampler, capabilities=having, open_decoder=open_decoder)

    yield _Way(Strategy.CPU, None, True, processor())
    yield _Way(Strategy.HYBRID, None, True, processor())
    for name in capabilities.resamplers:
        yield _Way(Strategy.FULL_GPU, name, True, processor(name))
    for traits in capabilities.decoders:
        only = replace(capabilities, decoders=(traits,))
        yield _Way(Strategy.GPU_DECODE, traits.name, traits.exact, processor(having=only))


def _run(way: _Way, file: bytes, device: torch.device) -> tuple[ProcessedBatch, float]:
    """The picture as this way brings it, and milliseconds."""
    fidelity = Fidelity.EXACT if way.exact else Fidelity.FAST
    with way.open() as processor:
        batch = processor([file], strategy=way.strategy, fidelity=fidelity)
        times = []
        for _ in range(_RUNS):
            synchronize(device)
            began = time.perf_counter()
            processor([file], strategy=way.strategy, fidelity=fidelity)
            synchronize(device)
            times.append(1e3 * (time.perf_counter() - began))
    return batch, median(times)


def _compared(
    result: SelfCheck, batch: ProcessedBatch, milliseconds: float, reference: npt.NDArray[np.uint8]
) -> SelfCheck:
    choice = batch.images[0].choice
    if not _took(result, choice):
        return replace(result, problem=choice.reason)
    pixels = batch.pixels[0].cpu().numpy()
    if pixels.shape != reference.shape:
        return replace(result, problem=f"the result's shape is {pixels.shape}, not {reference.shape}")
    difference = np.abs(pixels.astype(np.int16) - reference)
    error = float(np.square(difference, dtype=np.float64).mean())
    result = replace(
        result,
        max_difference=int(difference.max()),
        psnr_db=10 * math.log10(255**2 / error) if error else math.inf,
        milliseconds=milliseconds,
    )
    return replace(result, problem=_problem(result, batch, pixels))


def _took(result: SelfCheck, choice: RoutingDecision) -> bool:
    """Whether the picture took the way that is tried; one that a decoder gives up takes another by itself."""
    return choice.strategy is result.strategy and choice.decoder in (None, result.tool)


def _problem(result: SelfCheck, batch: ProcessedBatch, pixels: npt.NDArray[np.uint8]) -> str | None:
    assert result.max_difference is not None
    assert result.psnr_db is not None
    decoded = result.strategy is Strategy.GPU_DECODE
    most = EXACT_DECODER_LEVELS if decoded else _MAX_LEVELS
    if result.exact and result.max_difference > most:
        return f"{result.max_difference} levels from the reference, more than {most}; please report this"
    least = EXACT_DECODER_DB if result.exact else _MIN_DB
    if result.psnr_db < least:
        return f"{result.psnr_db:.1f} dB from the reference, less than {least:g}; please report this"
    apart = np.abs(batch.tensor[0].float().cpu().numpy() - normalize(pixels, normalized_levels())).max()
    if not apart <= _ROUNDING:  # NaN is not
        return f"normalised values are {apart:.2g} from what the pixels give; please report this"
    return None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(": ")
