"""A device in, the decoders that are installed for it out, without loading any; a decoder's name in, it ready out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu import apple_imageio, nvimgcodec, torchcodec, torchvision
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits, DeviceDecoder
from depth_anything_3.inputs.header import probe

if TYPE_CHECKING:
    import torch

__all__ = ["DECODER_FINDERS", "FoundDecoders", "find_decoders", "open_decoder"]


class FoundDecoders(NamedTuple):
    """What `find_decoders` found.

    Attributes:
        decoders: installed ones, the best first.
        missing: of those better than the best installed one, why each cannot be used and what to install; for people.
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
"""Kind of device to decoder's name to what describes it, the best first; raises UnsupportedError if not installed."""
_DECODERS: dict[str, Callable[[torch.device], DeviceDecoder]] = {
    nvimgcodec.NAME: nvimgcodec.NvImageCodecDecoder,
    torchcodec.NAME: torchcodec.TorchcodecDecoder,
    torchvision.NAME: torchvision.TorchvisionDecoder,
    apple_imageio.NAME: apple_imageio.ImageIODecoder,
}


def find_decoders(device_type: str) -> FoundDecoders:
    """Look which decoders are installed for a kind of device ("cuda", "mps", "cpu"); no library is imported.

    That one is installed does not promise that it runs: `open_decoder` tells.
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


def open_decoder(name: str, device: torch.device) -> DeviceDecoder:
    """Load a decoder and have it decode a small picture.

    Args:
        name: `DecoderTraits.name`.
        device: where the pixels are to be.

    Raises:
        UnsupportedError: no such decoder, its library is missing or too old, or it does not run on this device.
    """
    if name not in _DECODERS:
        raise UnsupportedError(f"decoder {name!r} is not one of {', '.join(_DECODERS)}")
    decoder = _DECODERS[name](device)
    # A driver, a library or a build that does not fit shows at the first picture, and would at every one after it.
    picture = _small_jpeg()
    try:
        (pixels,) = decoder.decode([picture], [probe(picture, "test picture")], [None])
    except BaseException:
        decoder.close()
        raise
    if isinstance(pixels, str):
        decoder.close()
        raise UnsupportedError(f"{name} does not run on {device} ({pixels}); is all of its extra installed?")
    return decoder


def _small_jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    return file.getvalue()
