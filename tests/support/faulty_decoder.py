"""A GPU decoder that decodes with OpenCV into CPU memory and misbehaves on request."""

from __future__ import annotations

import threading

import cv2
import torch

from depth_anything_3.inputs.decode.cpu import opencv
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits

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
