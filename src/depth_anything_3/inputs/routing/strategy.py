"""What a machine has and what an image is, in; the way that image takes to the network's memory, out, with a reason.

`choose_strategy` is a pure function, so that every machine's choices can be tested on any other.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.header import ImageHeader
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.inputs.routing.costs import Costs

__all__ = [
    "STRATEGY_VARIABLE",
    "Capabilities",
    "Choice",
    "ImageTraits",
    "Request",
    "check_strategy",
    "choose_strategy",
    "min_source_hw",
]

STRATEGY_VARIABLE = "DA3_STRATEGY"
"""Environment variable that stands in for a strategy left at "auto"."""


_NEAREST_CHROMA = {Fidelity.HIGH: 2.5, Fidelity.FAST: 1.0}
"""Least reduction (source length over result length) from which nearest-neighbour chroma reaches a fidelity.

Measured with libjpeg's own nearest upsampling on 160 photo-like JPEGs (4:2:0 and 4:2:2, quality 75 and 95): at least
51.4 dB from 2.5 on, 49.3 from 1.6, 46.4 from 1.25.
"""


_REDUCED_DECODE = {Fidelity.HIGH: 5.0, Fidelity.FAST: 3.0}
"""Minimum side of a reduced decode over the result's that reaches a fidelity with plain area weights.

See docs/preprocessing.md#reduced-jpeg-decode.
"""


@dataclass(frozen=True)
class Capabilities:
    """What the input pipeline can use on a machine, found once by `find_capabilities`.

    Attributes:
        device_type: of the network's device: "cuda", "mps" or "cpu".
        device_name: as the driver gives it; for people, never decided on.
        decoders: GPU decoders that are installed, the best first.
        jpeg_engines: hardware JPEG engines, as the driver says; None if it could not be asked.
        resamplers: ways to resample on the GPU, the best first: "triton", "torch"; "kornia" only on request.
        cores: CPU cores this process may use.
        costs: what each way was measured to cost here, if it was.
        missing: why there are no more decoders, and what could be installed; for people.
    """

    device_type: str = "cpu"
    device_name: str = ""
    decoders: tuple[DecoderTraits, ...] = ()
    jpeg_engines: int | None = None
    resamplers: tuple[str, ...] = ("torch",)
    cores: int = 1
    costs: Costs | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageTraits:
    """What matters of an image when its way is chosen.

    Attributes:
        header: of an encoded image; None for pixels.
        on_device: pixels are in the GPU's memory already.
        reduction: source length over result length of the bounded side; below 1 the picture is enlarged.
    """

    header: ImageHeader | None = None
    on_device: bool = False
    reduction: float = 1.0


@dataclass(frozen=True)
class Request:
    """What a call asks for.

    Attributes:
        strategy: `AUTO`, or the way to take. An image that cannot take it takes the nearest one that it can.
        fidelity: decoders that do not reach it are left out.
        batch_size: files that would be decoded in one call.
        workers: CPU threads that decode at a time.
        overlapped: the network computes meanwhile, as it does for a stream of images.
        from_environment: the strategy is the environment's.
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
        """Parse the choices; where "auto" is asked for, the environment's `DA3_STRATEGY` decides.

        Raises:
            InvalidInputError: an option is unknown.
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
class Choice:
    """A strategy and why; for `GPU_DECODE` also which decoder."""

    strategy: Strategy
    reason: str
    decoder: str | None = None


_DEFAULT = Request()


def check_strategy(capabilities: Capabilities, request: Request) -> None:
    """Refuse a strategy that this machine cannot carry out for any image.

    Raises:
        UnsupportedError: there is no GPU, no decoder for it, or none that reaches the fidelity asked for.
    """
    strategy = request.strategy
    if strategy in (Strategy.AUTO, Strategy.CPU):
        return
    asked = f"environment variable {STRATEGY_VARIABLE}" if request.from_environment else "strategy"
    asked = f"{asked}='{strategy.value}'"
    if capabilities.device_type == "cpu":
        raise UnsupportedError(f"{asked} needs a GPU, and the network is on the CPU; use 'auto' or 'cpu'")
    if strategy is not Strategy.GPU_DECODE:
        return
    hint = "; ".join(capabilities.missing) or "use 'auto'"
    if not capabilities.decoders:
        raise UnsupportedError(f"{asked}: no decoder for this GPU can be used ({hint})")
    if request.fidelity is Fidelity.EXACT and not any(one.exact for one in capabilities.decoders):
        names = ", ".join(one.name for one in capabilities.decoders)
        raise UnsupportedError(
            f"{asked} with fidelity='exact': {names} does not reconstruct chroma as libjpeg does; "
            f"pass fidelity='high' or 'fast' ({hint})"
        )


def choose_strategy(capabilities: Capabilities, image: ImageTraits, request: Request = _DEFAULT) -> Choice:
    """The way one image takes.

    Args:
        capabilities: of the machine.
        image: what is to be brought in.
        request: what was asked for.

    Nothing is raised: `check_strategy` refuses what no image could take, once and at the door. An image that cannot
    take the way asked for takes the nearest one.
    """
    asked = request.strategy
    if asked is Strategy.CPU:
        return Choice(Strategy.CPU, "asked for")
    if capabilities.device_type == "cpu":
        return Choice(Strategy.CPU, "the network is on the CPU")
    if asked is Strategy.FULL_GPU:
        return Choice(Strategy.FULL_GPU, "asked for")
    if image.on_device:
        return Choice(Strategy.FULL_GPU, "already in the GPU's memory")
    if asked is Strategy.HYBRID:
        return Choice(Strategy.HYBRID, "asked for")
    if image.header is None:
        return Choice(Strategy.HYBRID, "pixels in memory: the CPU shrinks them, so that little crosses the bus")
    return _for_file(capabilities, image, image.header, request)


def min_source_hw(plan: ResizePlan, fidelity: Fidelity) -> tuple[int, int] | None:
    """The least (height, width), as stored, that a picture may be decoded at; None where it must be decoded in full."""
    if fidelity is Fidelity.EXACT or plan.reduction <= _REDUCED_DECODE[fidelity]:
        return None
    height, width = (math.ceil(_REDUCED_DECODE[fidelity] * side) for side in plan.steps[0].result_hw)
    height, width = (min(a, b) for a, b in zip((height, width), plan.source_hw, strict=True))
    return plan.orientation.turned((height, width))


def _for_file(capabilities: Capabilities, image: ImageTraits, header: ImageHeader, request: Request) -> Choice:
    if not capabilities.decoders:
        hint = f" ({'; '.join(capabilities.missing)})" if capabilities.missing else ""
        return Choice(Strategy.HYBRID, f"no GPU decoder can be used{hint}")
    able, refusals = [], []
    for decoder in capabilities.decoders:
        unsupported_reason = decoder.unsupported_reason(header) or _too_coarse(decoder, image, header, request.fidelity)
        if unsupported_reason is None:
            able.append(decoder)
        else:
            refusals.append(unsupported_reason)
    if not able:
        return Choice(Strategy.HYBRID, refusals[0])
    measured = _cheapest(capabilities.costs, able, header, request) if capabilities.costs else None
    if measured is not None:
        return measured
    name = able[0].name
    if request.strategy is Strategy.GPU_DECODE:
        return Choice(Strategy.GPU_DECODE, "asked for", name)
    if capabilities.device_type == "cuda" and not capabilities.jpeg_engines:
        why = "the driver could not be asked" if capabilities.jpeg_engines is None else "this GPU has none"
        return Choice(
            Strategy.HYBRID,
            f"no JPEG engine known ({why}): decoding would take the network's multiprocessors; "
            "`da3 doctor --calibrate` measures whether it pays",
        )
    engine = "JPEG engine" if capabilities.device_type == "cuda" else "the system's decoder"
    return Choice(Strategy.GPU_DECODE, f"{engine}, through {name}", name)


def _too_coarse(decoder: DecoderTraits, image: ImageTraits, header: ImageHeader, fidelity: Fidelity) -> str | None:
    if decoder.exact:
        return None
    if fidelity is Fidelity.EXACT:
        return f"fidelity 'exact': {decoder.name} does not reconstruct chroma as libjpeg does"
    subsampled = header.jpeg is not None and header.jpeg.subsampled
    least = _NEAREST_CHROMA[fidelity]
    if subsampled and image.reduction < least:
        return f"fidelity '{fidelity.value}': {decoder.name} needs a picture reduced at least {least:g} times"
    return None


def _cheapest(costs: Costs, able: list[DecoderTraits], header: ImageHeader, request: Request) -> Choice | None:
    """The cheapest way by measurement, or None if it was not measured."""
    pixels = header.stored_hw[0] * header.stored_hw[1]
    priced = []
    for decoder in able:
        ms = costs.of(decoder.name, pixels, request.batch_size, overlapped=request.overlapped)
        if ms is not None:
            priced.append((ms, decoder.name))
    if not priced:
        return None
    gpu, name = min(priced)
    if request.strategy is Strategy.GPU_DECODE:
        return Choice(Strategy.GPU_DECODE, "asked for", name)
    busy = request.workers if request.overlapped else min(request.workers, request.batch_size)
    cpu = costs.of("cpu", pixels, busy, overlapped=request.overlapped)
    if cpu is None:
        return None
    if gpu < cpu:
        return Choice(Strategy.GPU_DECODE, f"measured here: {name} {gpu:.3g} ms an image, CPU {cpu:.3g}", name)
    return Choice(Strategy.HYBRID, f"measured here: CPU {cpu:.3g} ms an image, {name} {gpu:.3g}")
