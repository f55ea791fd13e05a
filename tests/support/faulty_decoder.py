"""GPU decoders that decode with OpenCV into CPU memory and misbehave on request."""

from __future__ import annotations

import threading

import cv2
import torch

from depth_anything_3.inputs.decode.cpu import opencv
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.output_guard import OutputGuard

EXACT = DecoderTraits("stand-in", "1.0", exact=True)
NEAREST = DecoderTraits("coarse", "1.0", exact=False)


class FaultyDecoder:
    """Keeps its pixels in one buffer that the next call overwrites, as real ones may."""

    def __init__(self, traits=EXACT, *, refuse=lambda data: None, planar=False, reduce=False):
        self.traits = traits
        self.calls = []
        self.threads = set()
        self.closed = 0
        self._refuse = refuse
        self._planar = planar
        self._reduce = reduce
        self._given = []

    def decode(self, files, headers, min_hw):
        self.calls.append(len(files))
        self.threads.add(threading.current_thread())
        for old in self._given:
            old.fill_(77)
        self._given = []
        return [self._one(*one) for one in zip(files, headers, min_hw, strict=True)]

    def _one(self, data, header, least):
        reason = self._refuse(bytes(data))
        decoded = None if reason else opencv.decode(data)
        if decoded is None:
            return reason or "stand-in: corrupt"
        pixels = decoded.pixels
        if self._reduce and least:
            pixels = cv2.resize(pixels, least[::-1], interpolation=cv2.INTER_AREA)
        tensor = torch.from_numpy(pixels.copy())
        if self._planar:
            tensor = tensor.permute(2, 0, 1).contiguous().permute(1, 2, 0)
        self._given.append(tensor)
        return tensor

    def close(self):
        self.closed += 1


class LyingDecoder:
    """Reuses its memory, one buffer per place in the batch, and reports success whatever it has written.

    Args:
        skip: whether it skips a file, given its bytes and its place in the batch.
        rows: number of rows that it writes of a file, given the same; None writes all.
        guarded: whether it wipes its memory before it decodes.
    """

    def __init__(self, *, skip=lambda data, place: False, rows=lambda data, place: None, guarded=True):
        self.traits = EXACT
        self._skip, self._rows = skip, rows
        self._memory = {}
        if guarded:
            self.guard = OutputGuard(torch.device("cpu"))

    def decode(self, files, headers, min_hw):
        return [
            self._one(place, bytes(data), header)
            for place, (data, header) in enumerate(zip(files, headers, strict=True))
        ]

    def _one(self, place, data, header):
        size = 3 * header.stored_hw[0] * header.stored_hw[1]
        if place not in self._memory or self._memory[place].numel() < size:
            self._memory[place] = torch.zeros(size, dtype=torch.uint8)
        memory = self._memory[place]
        if hasattr(self, "guard"):
            self.guard.wipe(memory, memory.numel())
        image = memory[:size].view(*header.stored_hw, 3)
        if not self._skip(data, place):
            rows = self._rows(data, place)
            image[:rows] = torch.from_numpy(opencv.decode(data).pixels)[:rows]
        return image

    def close(self):
        pass


class SkippingLibrary:
    """An nvimgcodec.Decoder that reports success for files that it skips."""

    def __init__(self, library, skipped):
        self.library, self.skipped, self.calls = library, skipped, []

    def decode(self, files, *, images, **options):
        self.calls.append((len(files), images is not None))
        if images is None:
            return self.library.decode(files, images=None, **options)
        decoded = list(images)
        taken = [index for index, data in enumerate(files) if data not in self.skipped]
        if taken:
            found = self.library.decode(
                [files[index] for index in taken], images=[images[index] for index in taken], **options
            )
            for index, image in zip(taken, found, strict=True):
                decoded[index] = image
        return decoded
