"""What a machine has and what an image is, in; the way that image takes to the network's memory, out, with a reason.

`choose_strategy` is a pure function, so that every machine's choices can be tested on any other.
"""

from __future__ import annotations

from dataclasses import dataclass

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.option import Option
from depth_anything_3.utils.io.costs import Costs
from depth_anything_3.utils.io.decode.device import DecoderTraits
from depth_anything_3.utils.io.header import ImageHeader

__all__ = ["Capabilities", "Choice", "Fidelity", "ImageTraits", "Strategy", "check_strategy", "choose_strategy"]


class Strategy(Option):
    """The ways from an image to the network's memory; `AUTO` asks for the best of them and is never the answer.

    | | decoded on | resampled on | crosses the bus | normalised on |
    |---|---|---|---|---|
    | `GPU_DECODE` | GPU | GPU | the compressed file | GPU |
    | `HYBRID` | CPU | CPU | the small 8-bit picture | GPU |
    | `FULL_GPU` | CPU | GPU | the full-size 8-bit picture | GPU |
    | `CPU` | CPU | CPU | nothing, or the network's input | CPU |
    """

    AUTO = "auto"
    GPU_DECODE = "gpu_decode"
    HYBRID = "hybrid"
    FULL_GPU = "full_gpu"
    CPU = "cpu"


class Fidelity(Option):
    """How close to the reference the pixels must be.

    `EXACT`: at most one level of 255 away, so only decoders that reconstruct chroma as libjpeg does. `HIGH`: 50 dB or
    more on photos; `FAST`: 44 dB or more. Both also admit GPU decoders that repeat the nearest chroma sample, where the
    picture is reduced enough to average that away.
    """

    EXACT = "exact"
    HIGH = "high"
    FAST = "fast"


_NEAREST_CHROMA = {Fidelity.HIGH: 99.0, Fidelity.FAST: 1.0}
"""Least reduction (source length over result length) from which nearest-neighbour chroma reaches a fidelity."""


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
        missing: what could be installed to have more, for people.
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
        batch_size: encoded images that would be decoded in one call.
        overlapped: the network computes meanwhile, as it does for a stream of images.
        workers: CPU threads that decode at a time.
    """

    header: ImageHeader | None = None
    on_device: bool = False
    reduction: float = 1.0
    batch_size: int = 1
    overlapped: bool = False
    workers: int = 1


@dataclass(frozen=True)
class Choice:
    """A strategy and why; for `GPU_DECODE` also which decoder."""

    strategy: Strategy
    reason: str
    decoder: str | None = None


def check_strategy(capabilities: Capabilities, strategy: Strategy) -> None:
    """Refuse a strategy that this machine cannot carry out for any image.

    Raises:
        UnsupportedError: there is no GPU, or no decoder for it.
    """
    if strategy in (Strategy.AUTO, Strategy.CPU):
        return
    asked = f"strategy='{strategy.value}'"
    if capabilities.device_type == "cpu":
        raise UnsupportedError(f"{asked} needs a GPU, and the network is on the CPU; use 'auto' or 'cpu'")
    if strategy is Strategy.GPU_DECODE and not capabilities.decoders:
        cure = "; ".join(capabilities.missing) or "use 'auto'"
        raise UnsupportedError(f"{asked}: no decoder for this GPU is installed ({cure})")


def choose_strategy(
    capabilities: Capabilities,
    image: ImageTraits,
    strategy: Strategy | str = Strategy.AUTO,
    fidelity: Fidelity | str = Fidelity.EXACT,
) -> Choice:
    """The way one image takes.

    Args:
        capabilities: of the machine.
        image: what is to be brought in.
        strategy: what was asked for. An image that cannot take the way asked for takes the nearest one that it can.
        fidelity: what was asked for; decoders that do not reach it are left out.

    Raises:
        UnsupportedError: the machine cannot carry out what was asked for, whatever the image.
    """
    asked, fidelity = Strategy(strategy), Fidelity(fidelity)
    check_strategy(capabilities, asked)
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
    return _for_file(capabilities, image, image.header, asked, fidelity)


def _for_file(
    capabilities: Capabilities, image: ImageTraits, header: ImageHeader, asked: Strategy, fidelity: Fidelity
) -> Choice:
    if not capabilities.decoders:
        missing = "; ".join(capabilities.missing)
        return Choice(Strategy.HYBRID, "no GPU decoder is installed" + (f" ({missing})" if missing else ""))
    able, reason = [], ""
    for decoder in capabilities.decoders:
        refusal = decoder.refusal(header) or _too_coarse(decoder, image, header, fidelity)
        if refusal is None:
            able.append(decoder)
        else:
            reason = reason or refusal
    if not able:
        return Choice(Strategy.HYBRID, reason)
    if capabilities.costs is not None:
        measured = _cheapest(capabilities.costs, able, image, header, asked)
        if measured is not None:
            return measured
    first = able[0]
    if asked is Strategy.GPU_DECODE:
        return Choice(Strategy.GPU_DECODE, "asked for", first.name)
    if capabilities.device_type == "cuda" and not capabilities.jpeg_engines:
        why = "its driver does not say that it has one" if capabilities.jpeg_engines is None else "this GPU has none"
        return Choice(
            Strategy.HYBRID,
            f"no JPEG engine ({why}): decoding would take the network's multiprocessors; "
            "`da3 doctor --calibrate` measures whether it pays",
        )
    if capabilities.device_type == "cuda":
        return Choice(Strategy.GPU_DECODE, f"JPEG engine, through {first.name}", first.name)
    return Choice(Strategy.GPU_DECODE, f"the system's decoder, through {first.name}", first.name)


def _too_coarse(decoder: DecoderTraits, image: ImageTraits, header: ImageHeader, fidelity: Fidelity) -> str | None:
    if decoder.exact or (header.jpeg and not header.jpeg.subsampled):
        return None
    if fidelity is Fidelity.EXACT:
        return f"fidelity 'exact': {decoder.name} does not reconstruct chroma as libjpeg does"
    least = _NEAREST_CHROMA[fidelity]
    if image.reduction < least:
        return f"fidelity '{fidelity.value}': {decoder.name}'s chroma needs a picture reduced {least:g} times or more"
    return None


def _cheapest(
    costs: Costs, able: list[DecoderTraits], image: ImageTraits, header: ImageHeader, asked: Strategy
) -> Choice | None:
    """The cheapest way by measurement, or None if it was not measured."""
    pixels = header.stored_hw[0] * header.stored_hw[1]
    priced = []
    for decoder in able:
        milliseconds = costs.of(decoder.name, pixels, image.batch_size, overlapped=image.overlapped)
        if milliseconds is not None:
            priced.append((milliseconds, decoder.name))
    if not priced:
        return None
    best, name = min(priced)
    if asked is Strategy.GPU_DECODE:
        return Choice(Strategy.GPU_DECODE, "asked for", name)
    cpu = costs.of("cpu", pixels, image.workers, overlapped=image.overlapped)
    if cpu is None:
        return None
    if best < cpu:
        return Choice(Strategy.GPU_DECODE, f"measured here: {name} {best:.2g} ms an image, CPU {cpu:.2g}", name)
    return Choice(Strategy.HYBRID, f"measured here: CPU {cpu:.2g} ms an image, {name} {best:.2g}")
