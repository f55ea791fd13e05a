"""Open, call and close the GPU decoders of a device, also when memory is short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

import torch

from depth_anything_3.inputs.batch.records import OpenedImage
from depth_anything_3.inputs.decode.gpu.batch_fallback import error_summary
from depth_anything_3.inputs.decode.gpu.decoder import GPUDecoder
from depth_anything_3.inputs.decode.gpu.output_guard import OutputGuard
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.runtime.device_errors import describes_out_of_memory, out_of_memory
from depth_anything_3.runtime.devices import empty_cache, memory_is_scarce

__all__ = ["GPUDecoders", "MemoryShortage"]

logger = logging.getLogger(__name__)

_MIN_REST, _MAX_REST = 1.0, 60.0  # seconds


class MemoryShortage(str):
    """The reason why a file was not decoded, if memory ran out: another attempt may succeed."""

    __slots__ = ()


class _Rest(NamedTuple):
    until: float
    seconds: float
    reason: str


class GPUDecoders:
    """The decoders of one device, opened when first used. Not thread-safe.

    An error of opening excludes a decoder for good: its library is missing or wrong, or the driver or GPU lacks
    something. A shortage of memory never does: the caller gives memory back (`release`) and tries again, and if that
    fails too, lets the decoder rest (`rest`): 1 second, twice as long each time that it fails again at once, at most
    60 seconds. Meanwhile, its files are rejected.

    Args:
        device: device of the decoders.
        open_decoder: opens the decoder of a name.
        on_unusable: called with the name of an excluded decoder, and the reason.
    """

    def __init__(
        self,
        device: torch.device,
        open_decoder: Callable[[str], GPUDecoder],
        on_unusable: Callable[[str, str], None],
    ) -> None:
        self._device = device
        self._open_decoder = open_decoder
        self._on_unusable = on_unusable
        self._open: dict[str, GPUDecoder] = {}
        self._excluded: dict[str, str] = {}
        self._resting: dict[str, _Rest] = {}

    def decode(self, name: str, images: Sequence[OpenedImage]) -> Sequence[torch.Tensor | str]:
        """Decode files on the current stream; see `GPUDecoder.decode`. A reason may be a `MemoryShortage`."""
        resting = self._resting.get(name)
        if name in self._excluded:
            return [self._excluded[name]] * len(images)
        if resting is not None and monotonic() < resting.until:
            return [resting.reason] * len(images)
        if name not in self._open:
            reason = self._try_to_open(name)
            if reason is not None:
                return [reason] * len(images)
        results = self._call(name, images)
        if not any(isinstance(one, MemoryShortage) for one in results):
            self._resting.pop(name, None)
        return results

    def guard(self, name: str) -> OutputGuard | None:
        """Return the guard of an open decoder's memory; None if it has none or is not open."""
        guard = getattr(self._open.get(name), "guard", None)
        return guard if isinstance(guard, OutputGuard) else None

    def release(self, name: str) -> None:
        """Close a decoder; it is opened again when needed. The caller has waited for work on its pixels."""
        decoder = self._open.pop(name, None)
        if decoder is not None:
            decoder.close()
        empty_cache(self._device)

    def rest(self, name: str, reason: str) -> None:
        """Reject the files of a decoder for some time, after memory ran out."""
        last = self._resting.get(name)
        seconds = _MIN_REST if last is None else min(2 * last.seconds, _MAX_REST)
        self._resting[name] = _Rest(monotonic() + seconds, seconds, str(reason))
        logger.warning("decoding on the CPU for %.0f s, because memory ran out: %s", seconds, reason)

    def close(self) -> None:
        """Close all decoders; they are opened again when needed."""
        while self._open:
            self._open.popitem()[1].close()

    def _try_to_open(self, name: str) -> str | None:
        """Open a decoder, or return why not."""
        try:
            self._open[name] = self._open_decoder(name)
        except Exception as error:  # an incompatible library or driver may raise anything
            reason = f"{name} is not usable: {error}"
            # A library that has no memory left may say only that it cannot decode.
            if _shortage(error) or memory_is_scarce(self._device):
                return MemoryShortage(reason)
            logger.warning("%s", reason)
            self._excluded[name] = reason
            self._on_unusable(name, reason)
            return reason
        return None

    def _call(self, name: str, images: Sequence[OpenedImage]) -> Sequence[torch.Tensor | str]:
        files: list[Buffer] = []
        headers: list[ImageHeader] = []
        for one in images:
            assert one.header is not None
            assert isinstance(one.data, (bytes, bytearray, memoryview))
            files.append(one.data)
            headers.append(one.header)
        try:
            results = self._open[name].decode(files, headers, [one.min_hw for one in images])
        except Exception as error:  # the adapter should return a reason per file; the CPU can still decode them
            reason = error_summary(error, name)
            if _shortage(error):
                return [MemoryShortage(reason)] * len(images)
            logger.warning("decoding a batch on the CPU: %s", reason)
            return [reason] * len(images)
        return [
            MemoryShortage(one) if isinstance(one, str) and describes_out_of_memory(one) else one for one in results
        ]


def _shortage(error: Exception) -> bool:
    return out_of_memory(error) or describes_out_of_memory(str(error))
