"""Choose the strategy for each image, with a reason.

`choose_strategy` is a pure function, so the decisions for any machine can be tested on any other.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inputs.choices import Fidelity, ResamplerName, Strategy
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.jpeg_engine import MissingEngine
from depth_anything_3.inputs.header import ImageHeader
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.inputs.routing.costs import Costs

__all__ = [
    "STRATEGY_VARIABLE",
    "Capabilities",
    "ImageTraits",
    "Request",
    "RoutingDecision",
    "check_strategy",
    "choose_strategy",
    "min_source_hw",
]

STRATEGY_VARIABLE = "DA3_STRATEGY"
"""Environment variable that replaces the strategy "auto"."""

_MIN_REDUCTION_NEAREST_CHROMA = {Fidelity.HIGH: 2.5, Fidelity.FAST: 1.0}
"""Minimum reduction (source length over result length) at which nearest-neighbour chroma reaches a fidelity.

Measured with libjpeg's own nearest-neighbour upsampling on 160 photo-like JPEGs (4:2:0 and 4:2:2, quality 75 and 95):
at least 51.4 dB from 2.5 on, 49.3 dB from 1.6, 46.4 dB from 1.25.
"""

_MIN_DECODED_SCALE = {Fidelity.HIGH: 5.0, Fidelity.FAST: 3.0}
"""Minimum side of a reduced decode over the result's that reaches a fidelity with plain area weights.

See docs/preprocessing.md#reduced-jpeg-decode.
"""


@dataclass(frozen=True)
class Capabilities:
    """What the input pipeline can use on a machine, found once by `find_capabilities`.

    Attributes:
        device_type: type of the network's device: "cuda", "mps" or "cpu".
        device_name: name from the driver; for display only, never used in decisions.
        decoders: installed GPU decoders, best first.
        jpeg_engines: number of hardware JPEG engines; None if the driver could not be queried.
        missing_engine: why this process can use no engine, on CUDA; for display only.
        resamplers: GPU resamplers, best first: "triton", "torch"; "kornia" only on request.
        cores: CPU cores that this process may use.
        costs: measured decode costs, if the machine was calibrated.
        missing: why better decoders are unavailable, and what to install; for display only.
    """

    device_type: str = "cpu"
    device_name: str = ""
    decoders: tuple[DecoderTraits, ...] = ()
    jpeg_engines: int | None = None
    missing_engine: MissingEngine | None = None
    resamplers: tuple[ResamplerName, ...] = ("torch",)
    cores: int = 1
    costs: Costs | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageTraits:
    """The properties of an image that decide its strategy.

    Attributes:
        header: header of an encoded image; None for pixels.
        on_device: whether the pixels are already in the GPU's memory.
        reduction: source length over result length of the bounded side; below 1, the image is enlarged.
    """

    header: ImageHeader | None = None
    on_device: bool = False
    reduction: float = 1.0


@dataclass(frozen=True)
class Request:
    """What the caller requests.

    Attributes:
        strategy: the requested strategy, or `AUTO`. An image that does not support it uses the nearest supported one.
        fidelity: the required fidelity; decoders that do not reach it are not used.
        batch_size: number of files decoded in one call.
        workers: number of CPU threads that decode concurrently.
        overlapped: whether the network runs at the same time, as in a stream of images.
        from_environment: whether the strategy comes from `DA3_STRATEGY`.
    """

    strategy: Strategy = Strategy.AUTO
    fidelity: Fidelity = Fidelity.EXACT
    batch_size: int = 1
    workers: int = 1
    overlapped: bool = False
    from_environment: bool = False

    @classmethod
    def of(
        cls,
        strategy: Strategy | str,
        fidelity: Fidelity | str,
        *,
        batch_size: int = 1,
        workers: int = 1,
        overlapped: bool = False,
    ) -> Request:
        """Parse the options; `DA3_STRATEGY`, if set, replaces "auto".

        Raises:
            InvalidInputError: a value is not accepted.
        """
        request = cls(Strategy(strategy), Fidelity(fidelity), batch_size, workers, overlapped)
        variable = os.environ.get(STRATEGY_VARIABLE)
        if request.strategy is not Strategy.AUTO or not variable:
            return request
        try:
            return replace(request, strategy=Strategy(variable), from_environment=True)
        except InvalidInputError as error:
            reason = str(error).removeprefix("strategy=")
            raise InvalidInputError(f"environment variable {STRATEGY_VARIABLE}={reason}") from None


@dataclass(frozen=True)
class RoutingDecision:
    """The strategy chosen for an image, the reason, and the decoder for `GPU_DECODE`."""

    strategy: Strategy
    reason: str
    decoder: str | None = None


_DEFAULT = Request()


def check_strategy(capabilities: Capabilities, request: Request) -> None:
    """Check that this machine supports the requested strategy.

    Raises:
        UnsupportedError: there is no GPU, no decoder for it, or none that reaches the requested fidelity.
    """
    strategy = request.strategy
    if strategy in (Strategy.AUTO, Strategy.CPU):
        return
    option = f"environment variable {STRATEGY_VARIABLE}" if request.from_environment else "strategy"
    option = f"{option}='{strategy.value}'"
    if capabilities.device_type == "cpu":
        raise UnsupportedError(f"{option} needs a GPU, and the network is on the CPU; use 'auto' or 'cpu'")
    if strategy is not Strategy.GPU_DECODE:
        return
    hint = "; ".join(capabilities.missing) or "use 'auto'"
    if not capabilities.decoders:
        raise UnsupportedError(f"{option}: no decoder for this GPU is available ({hint})")
    if request.fidelity is Fidelity.EXACT and not any(one.exact for one in capabilities.decoders):
        names = ", ".join(one.name for one in capabilities.decoders)
        raise UnsupportedError(
            f"{option} with fidelity='exact': {names} does not decode as libjpeg does; "
            f"pass fidelity='high' or fidelity='fast' ({hint})"
        )


def choose_strategy(capabilities: Capabilities, image: ImageTraits, request: Request = _DEFAULT) -> RoutingDecision:
    """Choose the strategy of one image.

    Never raises: `check_strategy` rejects unsupported strategies once per call. An image that does not support the
    requested strategy uses the nearest supported one.

    Args:
        capabilities: what the machine supports.
        image: the properties of the image.
        request: what the caller requests.
    """
    requested = request.strategy
    if requested is Strategy.CPU:
        return RoutingDecision(Strategy.CPU, "requested")
    if capabilities.device_type == "cpu":
        return RoutingDecision(Strategy.CPU, "the network is on the CPU")
    if requested is Strategy.FULL_GPU:
        return RoutingDecision(Strategy.FULL_GPU, "requested")
    if image.on_device:
        return RoutingDecision(Strategy.FULL_GPU, "already in the GPU's memory")
    if requested is Strategy.HYBRID:
        return RoutingDecision(Strategy.HYBRID, "requested")
    if image.header is None:
        return RoutingDecision(Strategy.HYBRID, "pixels in memory: resized on the CPU to transfer less")
    return _for_file(capabilities, image, image.header, request)


def min_source_hw(plan: ResizePlan, fidelity: Fidelity) -> tuple[int, int] | None:
    """Return the minimum stored (height, width) at which an image may be decoded; None requires full size."""
    if fidelity is Fidelity.EXACT or plan.reduction <= _MIN_DECODED_SCALE[fidelity]:
        return None
    height, width = (math.ceil(_MIN_DECODED_SCALE[fidelity] * side) for side in plan.steps[0].result_hw)
    height, width = (min(a, b) for a, b in zip((height, width), plan.source_hw, strict=True))
    return plan.orientation.oriented_hw((height, width))


def _for_file(capabilities: Capabilities, image: ImageTraits, header: ImageHeader, request: Request) -> RoutingDecision:
    if not capabilities.decoders:
        hint = f" ({'; '.join(capabilities.missing)})" if capabilities.missing else ""
        return RoutingDecision(Strategy.HYBRID, f"no GPU decoder is available{hint}")
    supported, reasons = [], []
    for decoder in capabilities.decoders:
        unsupported_reason = decoder.unsupported_reason(header) or _fidelity_reason(
            decoder, image, header, request.fidelity
        )
        if unsupported_reason is None:
            supported.append(decoder)
        else:
            reasons.append(unsupported_reason)
    if not supported:
        return RoutingDecision(Strategy.HYBRID, reasons[0])
    measured = _cheapest(capabilities.costs, supported, header, request) if capabilities.costs else None
    if measured is not None:
        return measured
    name = supported[0].name
    if request.strategy is Strategy.GPU_DECODE:
        return RoutingDecision(Strategy.GPU_DECODE, "requested", name)
    if capabilities.device_type == "cuda" and not capabilities.jpeg_engines:
        why = "nvJPEG could not be queried" if capabilities.jpeg_engines is None else "nvJPEG reports none"
        if capabilities.missing_engine is not None:
            why = capabilities.missing_engine.cause
        return RoutingDecision(
            Strategy.HYBRID,
            f"no hardware JPEG engine ({why}): decoding would compete with the network for multiprocessors; "
            "`da3 doctor --calibrate` measures whether it is faster",
        )
    engine = "JPEG engine" if capabilities.device_type == "cuda" else "the system's decoder"
    return RoutingDecision(Strategy.GPU_DECODE, f"{engine} through {name}", name)


def _fidelity_reason(decoder: DecoderTraits, image: ImageTraits, header: ImageHeader, fidelity: Fidelity) -> str | None:
    if decoder.exact:
        return None
    if fidelity is Fidelity.EXACT:
        return f"fidelity 'exact': {decoder.name} does not decode as libjpeg does"
    subsampled = header.jpeg is not None and header.jpeg.subsampled
    minimum = _MIN_REDUCTION_NEAREST_CHROMA[fidelity]
    if subsampled and image.reduction < minimum:
        return f"fidelity '{fidelity.value}': {decoder.name} needs an image reduced at least {minimum:g} times"
    return None


def _cheapest(
    costs: Costs, supported: list[DecoderTraits], header: ImageHeader, request: Request
) -> RoutingDecision | None:
    """Return the fastest decoder by measurement, or None if it was not measured."""
    pixels = header.stored_hw[0] * header.stored_hw[1]
    timed = []
    for decoder in supported:
        ms = costs.of(decoder.name, pixels, request.batch_size, overlapped=request.overlapped)
        if ms is not None:
            timed.append((ms, decoder.name))
    if not timed:
        return None
    gpu, name = min(timed)
    if request.strategy is Strategy.GPU_DECODE:
        return RoutingDecision(Strategy.GPU_DECODE, "requested", name)
    busy = request.workers if request.overlapped else min(request.workers, request.batch_size)
    cpu = costs.of("cpu", pixels, busy, overlapped=request.overlapped)
    if cpu is None:
        return None
    if gpu < cpu:
        return RoutingDecision(Strategy.GPU_DECODE, f"measured: {name} {gpu:.3g} ms per image, CPU {cpu:.3g}", name)
    return RoutingDecision(Strategy.HYBRID, f"measured: CPU {cpu:.3g} ms per image, {name} {gpu:.3g}")
