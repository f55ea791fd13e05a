"""Measure the cost of each decoder on this machine, with the GPU idle and busy, on photo-like JPEGs.

Each setting (decoder, concurrency, image size) is measured once before any is measured again, and the median counts.
A temporary slowdown therefore affects all settings alike, and a short run still gives a result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median

import cv2
import numpy as np
import torch

from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DA3Error, UnsupportedError
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu.decoder import GPUDecoder
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.routing.costs import Cost, Costs
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.runtime.devices import synchronize
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor

__all__ = ["SIZES", "calibrate", "nothing_to_measure"]

logger = logging.getLogger(__name__)

SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
"""(width, height) of the images, the smallest first."""

_FILES_PER_CALL = (1, 4, 16)
_MAX_RUNS = 15
_QUALITY = 95
_SEED = 11


@dataclass
class _Setting:
    """A setting and its measurements so far.

    Attributes:
        decoder, pixels, concurrency: as in `Cost`.
        images: number of images in one run.
        run: processes them.
        alone, contended: seconds of each run, with the GPU idle and busy.
    """

    decoder: str
    pixels: int
    concurrency: int
    images: int
    run: Callable[[], ProcessedBatch]
    alone: list[float] = field(default_factory=list)
    contended: list[float] = field(default_factory=list)

    def cost(self) -> Cost:
        """Return the median times per image."""
        per_image = 1e3 / self.images
        alone, contended = per_image * median(self.alone), per_image * median(self.contended)
        return Cost(self.decoder, self.pixels, self.concurrency, alone, contended)


def nothing_to_measure(capabilities: Capabilities) -> str | None:
    """Return why calibration is pointless on this machine, or None if it is not."""
    if capabilities.device_type == "cpu":
        return "the network is on the CPU"
    if not capabilities.decoders:
        hint = f" ({'; '.join(capabilities.missing)})" if capabilities.missing else ""
        return f"no GPU decoder is installed, so the CPU decodes{hint}"
    return None


def calibrate(
    device: torch.device,
    capabilities: Capabilities,
    *,
    seconds: float = 20.0,
    sizes: Sequence[tuple[int, int]] = SIZES,
    on_progress: Callable[[float], None] = lambda done: None,
    open_decoder: Callable[[str, torch.device], GPUDecoder] = open_decoder,
) -> Costs:
    """Time the CPU with 1, 2, 4, ... workers and each GPU decoder with 1, 4 and 16 files per call, for every size.

    A run is one warm call of `GPUInputProcessor`, from files in memory to normalised images of 504 pixels on the GPU.
    A decoder that does not run, or rejects an image, is skipped with a warning.

    Args:
        device: device of the network.
        capabilities: capabilities of the machine; its decoders are measured, its stored costs are ignored.
        seconds: time after which no new measurement starts. Settings not reached by then are skipped with a warning;
            the largest images come last.
        sizes: (width, height) of the images, ascending.
        on_progress: called with the share of the time that has passed, 0 to 1.
        open_decoder: opens a decoder by name on a device.

    Raises:
        UnsupportedError: the machine has only one choice.
    """
    if reason := nothing_to_measure(capabilities):
        raise UnsupportedError(f"nothing to calibrate: {reason}")
    start = time.monotonic()
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        load = stack.enter_context(NetworkLoad(device))
        settings = _settings(device, replace(capabilities, costs=None), sizes, open_decoder, stack)
        for setting in (one for _ in range(_MAX_RUNS) for one in settings):
            elapsed = time.monotonic() - start
            if elapsed >= seconds:
                break
            on_progress(elapsed / seconds)
            if setting.decoder not in failed:
                reason = _measure(setting, load, device)
                if reason is not None:
                    failed[setting.decoder] = reason
                    logger.warning("%s skipped: %s", setting.decoder, reason)
    on_progress(1.0)
    measured = [one for one in settings if one.contended]
    missed = sum(one.decoder not in failed for one in settings if not one.contended)
    if missed:
        logger.warning("%d of %d measurements skipped: the time limit of %g s passed", missed, len(settings), seconds)
    return Costs(tuple(one.cost() for one in measured))


def _settings(
    device: torch.device,
    capabilities: Capabilities,
    sizes: Iterable[tuple[int, int]],
    open_decoder: Callable[[str, torch.device], GPUDecoder],
    stack: ExitStack,
) -> list[_Setting]:
    """List all settings, the smallest images first; the processors are closed with `stack`."""
    candidates: list[tuple[str, int, int, Callable[..., ProcessedBatch]]] = []
    for workers in _worker_counts(capabilities.cores):
        # One processor each, because changing the number of workers restarts them. Two images per worker, to limit the
        # weight of the worker that finishes last.
        processor = stack.enter_context(GPUInputProcessor(device, capabilities=capabilities))
        run = partial(processor, strategy=Strategy.HYBRID, num_workers=workers)
        candidates.append(("cpu", workers, 2 * workers, run))
    for traits in capabilities.decoders:
        only = replace(capabilities, decoders=(traits,))
        processor = stack.enter_context(GPUInputProcessor(device, capabilities=only, open_decoder=open_decoder))
        # Lower fidelities let some decoders do less work, so they are used only for decoders that are not exact.
        fidelity = Fidelity.EXACT if traits.exact else Fidelity.FAST
        run = partial(processor, strategy=Strategy.GPU_DECODE, fidelity=fidelity)
        candidates += [(traits.name, count, count, run) for count in _FILES_PER_CALL]
    return [
        _Setting(decoder, width * height, concurrency, images, partial(run, [file] * images))
        for (width, height), file in _test_images(sizes)
        for decoder, concurrency, images, run in candidates
    ]


def _worker_counts(cores: int) -> list[int]:
    """Return 1, 2, 4, ... and the number of cores."""
    return [*(2**power for power in range(cores.bit_length()) if 2**power < cores), cores]


def _test_images(sizes: Iterable[tuple[int, int]]) -> list[tuple[tuple[int, int], bytes]]:
    """Encode 4:2:0 JPEGs of one synthetic photo, resized: drawing one for each size would take seconds."""
    sizes = list(sizes)
    drawn = photo(*max(sizes), _SEED)[..., ::-1]
    files = []
    for size in sizes:
        scaled = cv2.resize(np.ascontiguousarray(drawn), size, interpolation=cv2.INTER_AREA)
        done, encoded = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        assert done
        files.append((size, encoded.tobytes()))
    return files


def _measure(setting: _Setting, load: NetworkLoad, device: torch.device) -> str | None:
    """Add one run with the GPU idle and one with the GPU busy; return why the decoder cannot be used, if so."""
    try:
        if not setting.alone:
            unsupported_reason = _unsupported_reason(setting, setting.run())
            if unsupported_reason is not None:
                return unsupported_reason
        synchronize(device)
        start = time.perf_counter()
        setting.run()
        synchronize(device)
        setting.alone.append(time.perf_counter() - start)
        start = time.perf_counter()
        busy = load.start(median(setting.alone))
        setting.run()
        synchronize(device)
        busy.result()
        setting.contended.append(time.perf_counter() - start)
    except (DA3Error, RuntimeError) as error:  # such as out of memory
        return str(error)
    return None


def _unsupported_reason(setting: _Setting, batch: ProcessedBatch) -> str | None:
    """Return why an image was not decoded by the measured decoder."""
    for image in batch.images:
        if setting.decoder != "cpu" and image.choice.decoder != setting.decoder:
            return image.choice.reason
    return None
