"""Run every strategy of this machine on one image, and compare the result with the reference.

The reference is upstream's preprocessing: Pillow's decoder, then two OpenCV resizes.
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
from depth_anything_3.errors import DA3Error
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.processor import BatchProcessor
from depth_anything_3.inputs.choices import Fidelity, ResamplerName, Strategy
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
_MAX_LEVELS = 1  # of an exact strategy
# Of a GPU decoder that reconstructs chroma like libjpeg, but rounds differently.
EXACT_DECODER_LEVELS = 2
EXACT_DECODER_DB = 50.0
_MIN_DB = 44.0  # of any other decoder, as `Fidelity.FAST` guarantees
_ROUNDING = 1e-5  # of normalised values, which lie between -2.12 and 2.64


@dataclass(frozen=True)
class SelfCheck:
    """Result of one strategy on one image.

    Attributes:
        strategy: the strategy.
        tool: its decoder ("nvimgcodec") or resampler ("triton"), if there is a choice.
        exact: whether it guarantees results within one level of the reference.
        problem: what is wrong; None if it passed.
        max_difference: largest difference from the reference, in 8-bit levels.
        psnr_db: PSNR against the reference; infinite for equal pixels.
        milliseconds: median warm time from a file in memory to one normalised image on the device.
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
        """Whether the strategy passed."""
        return self.problem is None


@dataclass(frozen=True)
class _Case:
    """A strategy to check; `open` creates its processor."""

    strategy: Strategy
    tool: str | None
    exact: bool
    open: Callable[[], BatchProcessor[Any]]  # Any: the type of its images


def self_check(
    device: torch.device,
    capabilities: Capabilities,
    *,
    open_decoder: Callable[[str, torch.device], GPUDecoder] = open_decoder,
) -> list[SelfCheck]:
    """Run every strategy of this machine on a photo-like JPEG of 1920x1080, and compare with the reference.

    Args:
        device: device of the network.
        capabilities: capabilities of the machine.
        open_decoder: opens a decoder by name on a device.

    Returns:
        A result for each strategy, decoder and resampler. Errors are reported in it, not raised.
    """
    file = photo_jpeg(*_SIZE, _SEED)
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image.convert("RGB"))
    reference = resample_stepwise(pixels, plan_resize(pixels.shape[:2])).transpose(2, 0, 1)
    results = []
    for case in _cases(device, replace(capabilities, costs=None), open_decoder):
        result = SelfCheck(case.strategy, case.tool, case.exact)
        try:
            result = _compare(result, *_run(case, file, device), reference)
        except Exception as error:  # report any failure and check the next strategy
            result = replace(result, problem=_first_line(error))
        results.append(result)
    return results


def _cases(
    device: torch.device, capabilities: Capabilities, open_decoder: Callable[[str, torch.device], GPUDecoder]
) -> Iterator[_Case]:
    if capabilities.device_type == "cpu":
        yield _Case(Strategy.CPU, None, True, InputProcessor)
        return

    def processor(
        resampler: ResamplerName | None = None, having: Capabilities = capabilities
    ) -> Callable[[], GPUInputProcessor]:
        return lambda: GPUInputProcessor(device, resampler=resampler, capabilities=having, open_decoder=open_decoder)

    yield _Case(Strategy.CPU, None, True, processor())
    yield _Case(Strategy.HYBRID, None, True, processor())
    for name in capabilities.resamplers:
        yield _Case(Strategy.FULL_GPU, name, True, processor(name))
    for traits in capabilities.decoders:
        only = replace(capabilities, decoders=(traits,))
        yield _Case(Strategy.GPU_DECODE, traits.name, traits.exact, processor(having=only))


def _run(case: _Case, file: bytes, device: torch.device) -> tuple[ProcessedBatch, float]:
    """Process the image; return the result and the median time in milliseconds."""
    fidelity = Fidelity.EXACT if case.exact else Fidelity.FAST
    with case.open() as processor:
        batch = processor([file], strategy=case.strategy, fidelity=fidelity)
        times = []
        for _ in range(_RUNS):
            synchronize(device)
            start = time.perf_counter()
            processor([file], strategy=case.strategy, fidelity=fidelity)
            synchronize(device)
            times.append(1e3 * (time.perf_counter() - start))
    return batch, median(times)


def _compare(
    result: SelfCheck, batch: ProcessedBatch, milliseconds: float, reference: npt.NDArray[np.uint8]
) -> SelfCheck:
    choice = batch.images[0].choice
    if not _was_used(result, choice):
        return replace(result, problem=choice.reason)
    pixels = batch.pixels[0].cpu().numpy()
    if pixels.shape != reference.shape:
        return replace(result, problem=f"shape {pixels.shape} instead of {reference.shape}; please report this")
    difference = np.abs(pixels.astype(np.int16) - reference)
    error = float(np.square(difference, dtype=np.float64).mean())
    result = replace(
        result,
        max_difference=int(difference.max()),
        psnr_db=10 * math.log10(255**2 / error) if error else math.inf,
        milliseconds=milliseconds,
    )
    return replace(result, problem=_problem(result, batch, pixels))


def _was_used(result: SelfCheck, choice: RoutingDecision) -> bool:
    """Whether the checked strategy was used; an image that a decoder rejects falls back to another."""
    return choice.strategy is result.strategy and choice.decoder in (None, result.tool)


def _problem(result: SelfCheck, batch: ProcessedBatch, pixels: npt.NDArray[np.uint8]) -> str | None:
    assert result.max_difference is not None
    assert result.psnr_db is not None
    decoded = result.strategy is Strategy.GPU_DECODE
    max_levels = EXACT_DECODER_LEVELS if decoded else _MAX_LEVELS
    if result.exact and result.max_difference > max_levels:
        return f"differs from the reference by {result.max_difference} levels (limit {max_levels}); please report this"
    min_db = EXACT_DECODER_DB if result.exact else _MIN_DB
    if result.psnr_db < min_db:
        return f"PSNR {result.psnr_db:.1f} dB is below the limit of {min_db:g} dB; please report this"
    error = np.abs(batch.tensor[0].float().cpu().numpy() - normalize(pixels, normalized_levels())).max()
    if not error <= _ROUNDING:  # also true for NaN
        return f"normalised values differ by {error:.2g} from the normalised pixels; please report this"
    return None


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0]
    return line if isinstance(error, DA3Error) else f"{type(error).__name__}: {line}".rstrip(": ")
