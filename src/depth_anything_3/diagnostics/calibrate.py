"""A GPU in, what every way into its memory costs there out: measured on photo-like JPEGs, alone and beside a network.

Each setting (way, number at a time, size of picture) is measured once before any is measured again, and the medians
count: so a machine that slows down for a while slows all of them, and there is a result however little time there was.
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
"""(width, height) of the pictures, the smallest first."""

_FILES_A_CALL = (1, 4, 16)
_MAX_RUNS = 15
_QUALITY = 95
_SEED = 11


@dataclass
class _Setting:
    """One row of the result while it is measured.

    Attributes:
        way, pixels, at_a_time: `decoder`, `pixels` and `concurrency` of the `Cost`.
        images: brought in by one run.
        run: brings them in.
        alone, loaded: seconds of the runs so far.
    """

    way: str
    pixels: int
    at_a_time: int
    images: int
    run: Callable[[], ProcessedBatch]
    alone: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)

    def cost(self) -> Cost:
        """The medians, per image."""
        per_image = 1e3 / self.images
        alone, loaded = per_image * median(self.alone), per_image * median(self.loaded)
        return Cost(self.way, self.pixels, self.at_a_time, alone, loaded)


def nothing_to_measure(capabilities: Capabilities) -> str | None:
    """Why calibrating is useless on this machine, or None if it is not."""
    if capabilities.device_type == "cpu":
        return "the network is on the CPU, so every image takes the CPU's way"
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
    """Time the CPU at 1, 2, 4, ... workers and each GPU decoder at 1, 4 and 16 files a call, for every size.

    What is timed is a call of `GPUInputProcessor`: files in memory in, normalised pictures of 504 pixels in the GPU's
    memory out; everything is warm. A decoder that does not run, or gives a picture up, is left out with a warning.

    Args:
        device: the network's.
        capabilities: of the machine; its decoders are measured, its costs do not matter.
        seconds: after which no new measurement is begun, so a call takes at most one of them longer. What was not
            reached by then (the largest pictures come last) is left out with a warning.
        sizes: (width, height) of the pictures, ascending.
        on_progress: told which part of the time is over, 0 to 1.
        open_decoder: gives the decoder of a name for a device.

    Raises:
        UnsupportedError: there is nothing to choose between here.
    """
    if reason := nothing_to_measure(capabilities):
        raise UnsupportedError(f"nothing to calibrate: {reason}")
    began = time.monotonic()
    refused: dict[str, str] = {}
    with ExitStack() as stack:
        load = stack.enter_context(NetworkLoad(device))
        settings = _settings(device, replace(capabilities, costs=None), sizes, open_decoder, stack)
        for setting in (one for _ in range(_MAX_RUNS) for one in settings):
            elapsed = time.monotonic() - began
            if elapsed >= seconds:
                break
            on_progress(elapsed / seconds)
            if setting.way not in refused:
                reason = _measure(setting, load, device)
                if reason is not None:
                    refused[setting.way] = reason
                    logger.warning("%s is left out: %s", setting.way, reason)
    on_progress(1.0)
    measured = [one for one in settings if one.loaded]
    missed = sum(one.way not in refused for one in settings if not one.loaded)
    if missed:
        logger.warning("%d of %d measurements were not reached in %g s", missed, len(settings), seconds)
    return Costs(tuple(one.cost() for one in measured))


def _settings(
    device: torch.device,
    capabilities: Capabilities,
    sizes: Iterable[tuple[int, int]],
    open_decoder: Callable[[str, torch.device], GPUDecoder],
    stack: ExitStack,
) -> list[_Setting]:
    """Everything to be measured, the smallest pictures first; the processors are closed with `stack`."""
    candidates: list[tuple[str, int, int, Callable[..., ProcessedBatch]]] = []
    for workers in _worker_counts(capabilities.cores):
        # One processor each, because a change of the number of workers starts new ones. Two images a worker, so that
        # the one that ends last does not weigh too much.
        processor = stack.enter_context(GPUInputProcessor(device, capabilities=capabilities))
        run = partial(processor, strategy=Strategy.HYBRID, num_workers=workers)
        candidates.append(("cpu", workers, 2 * workers, run))
    for traits in capabilities.decoders:
        only = replace(capabilities, decoders=(traits,))
        processor = stack.enter_context(GPUInputProcessor(device, capabilities=only, open_decoder=open_decoder))
        # Coarser fidelities let some decoders do less, so they are admitted only where nothing else is possible.
        fidelity = Fidelity.EXACT if traits.exact else Fidelity.FAST
        run = partial(processor, strategy=Strategy.GPU_DECODE, fidelity=fidelity)
        candidates += [(traits.name, count, count, run) for count in _FILES_A_CALL]
    return [
        _Setting(way, width * height, at_a_time, images, partial(run, [file] * images))
        for (width, height), file in _pictures(sizes)
        for way, at_a_time, images, run in candidates
    ]


def _worker_counts(cores: int) -> list[int]:
    """1, 2, 4, ... and all of them."""
    return [*(2**power for power in range(cores.bit_length()) if 2**power < cores), cores]


def _pictures(sizes: Iterable[tuple[int, int]]) -> list[tuple[tuple[int, int], bytes]]:
    """4:2:0 JPEGs of one drawing: drawing it anew for each size would take seconds."""
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
    """Add one run alone and one under load; why the way is of no use, if it turns out to be."""
    try:
        if not setting.alone:
            unsupported_reason = _unsupported_reason(setting, setting.run())
            if unsupported_reason is not None:
                return unsupported_reason
        synchronize(device)
        began = time.perf_counter()
        setting.run()
        synchronize(device)
        setting.alone.append(time.perf_counter() - began)
        began = time.perf_counter()
        busy = load.start(median(setting.alone))
        setting.run()
        synchronize(device)
        busy.result()
        setting.loaded.append(time.perf_counter() - began)
    except (DA3Error, RuntimeError) as error:  # such as no memory left for so many so large
        return str(error)
    return None


def _unsupported_reason(setting: _Setting, batch: ProcessedBatch) -> str | None:
    """Why an image did not take the way that is measured."""
    for image in batch.images:
        if setting.way != "cpu" and image.choice.decoder != setting.way:
            return image.choice.reason
    return None
