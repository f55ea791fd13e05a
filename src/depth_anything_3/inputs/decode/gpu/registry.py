"""Find the GPU decoders that are installed for a device, and open them by name."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu import apple_imageio, nvimgcodec, torchcodec, torchvision
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits, GPUDecoder
from depth_anything_3.inputs.header import probe

if TYPE_CHECKING:
    import torch

__all__ = ["DECODER_FINDERS", "FoundDecoders", "find_decoders", "open_decoder"]


class FoundDecoders(NamedTuple):
    """Result of `find_decoders`.

    Attributes:
        decoders: installed decoders, best first.
        missing: for each decoder better than the best installed one, why it is unavailable and what to install.
    """

    decoders: tuple[DecoderTraits, ...]
    missing: tuple[str, ...]


DECODER_FINDERS: dict[str, dict[str, Callable[[str], DecoderTraits]]] = {
    "cuda": {
        nvimgcodec.NAME: nvimgcodec.find,
        torchcodec.NAME: torchcodec.find,
        torchvision.NAME: torchvision.find,
    },
    "mps": {apple_imageio.NAME: apple_imageio.find},
}
"""Device type -> decoder name -> `find` function, best first; `find` raises UnsupportedError if not installed."""
_DECODERS: dict[str, Callable[[torch.device], GPUDecoder]] = {
    nvimgcodec.NAME: nvimgcodec.NvImageCodecDecoder,
    torchcodec.NAME: torchcodec.TorchcodecDecoder,
    torchvision.NAME: torchvision.TorchvisionDecoder,
    apple_imageio.NAME: apple_imageio.ImageIODecoder,
}


def find_decoders(device_type: str) -> FoundDecoders:
    """Find the decoders that are installed for a device type ("cuda", "mps", "cpu"); no library is imported.

    An installed decoder may still fail to run, which `open_decoder` checks.
    """
    decoders: list[DecoderTraits] = []
    missing: list[str] = []
    for find in DECODER_FINDERS.get(device_type, {}).values():
        try:
            decoders.append(find(device_type))
        except UnsupportedError as error:
            if not decoders:
                missing.append(str(error))
    return FoundDecoders(tuple(decoders), tuple(missing))


def open_decoder(name: str, device: torch.device) -> GPUDecoder:
    """Load a decoder and check it by decoding a small image.

    Args:
        name: `DecoderTraits.name`.
        device: device for the pixels.

    Raises:
        UnsupportedError: the name is unknown, the library is missing or too old, or it does not run on this device.
    """
    if name not in _DECODERS:
        raise UnsupportedError(f"decoder {name!r} is not one of {', '.join(_DECODERS)}")
    decoder = _DECODERS[name](device)
    # An incompatible driver, library or build fails here instead of at every image.
    file = _small_jpeg()
    try:
        (pixels,) = decoder.decode([file], [probe(file, "test image")], [None])
    except BaseException:
        decoder.close()
        raise
    if isinstance(pixels, str):
        decoder.close()
        raise UnsupportedError(f"{name} does not run on {device} ({pixels}); is its extra completely installed?")
    return decoder


def _small_jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    return file.getvalue()
