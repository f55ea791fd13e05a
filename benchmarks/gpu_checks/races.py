"""Check for races: repeat decoding and batches while the GPU is busy, and compare the results."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import torch

from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.runtime.devices import synchronize
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from gpu_checks.outcome import Report
from harness.images import encode
from harness.method import Setting, declared_fidelity, find_cuda_decoders

__all__ = ["run"]

_TIMES = 50
_LATE_CYCLES = 3_000_000  # of the GPU's clock: a consumer that lags by about two milliseconds
_SHARE = 0.45  # of the seconds left, for a check that may have to give up


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Check each installed decoder."""
    sizes = [(640, 480), (485, 645)] if quick else [(1920, 1080), (3840, 2160), (645, 485), (1280, 720)]
    files = [encode(photo(*size, seed)) for seed, size in enumerate(sizes * 2)]
    decoders = find_cuda_decoders(setting.device).installed
    with NetworkLoad(setting.device) as load:
        for name, traits in decoders.items():
            with report.guard(f"{name}, decoding again and again"):
                _decoder(report, setting, name, files, load, 3 if quick else _TIMES)
            with report.guard(f"{name}, batches read late"):
                _batches(report, setting, traits, files, load, 2 if quick else _TIMES)
        with report.guard("hybrid, batches read late"):
            _batches(report, setting, None, files, load, 2 if quick else _TIMES)


@contextmanager
def _busy(load: NetworkLoad) -> Iterator[_Busy]:
    keeper = _Busy(load)
    try:
        yield keeper
    finally:
        keeper.wait()


class _Busy:
    """Keeps the device busy with little pauses at most."""

    def __init__(self, load: NetworkLoad) -> None:
        self._load = load
        self._futures: list[Future[None]] = []

    def keep(self) -> None:
        """See to it that there is work."""
        self._futures = [one for one in self._futures if not one.done()]
        while len(self._futures) < 2:
            self._futures.append(self._load.start(0.02))

    def wait(self) -> None:
        """Until all is done."""
        for one in self._futures:
            one.result()


def _decoder(report: Report, setting: Setting, name: str, files: list[bytes], load: NetworkLoad, times: int) -> None:
    """Compare the first decode without load with many under load, into reused memory."""
    headers = [probe(file, f"file {place}") for place, file in enumerate(files)]
    decoder = open_decoder(name, setting.device)
    try:
        first = [_pixels(one).clone() for one in decoder.decode(files, headers, [None] * len(files))]
        synchronize(setting.device)
        moved, done, stop = 0, 0, report.seconds_left * (1 - _SHARE)
        with _busy(load) as busy:
            while done < times and report.seconds_left > stop:
                busy.keep()
                # Freed at once, so that a decode into fresh memory finds it filled with 255.
                torch.full((2**26,), 255, dtype=torch.uint8, device=setting.device)
                again = decoder.decode(files, headers, [None] * len(files))
                moved += sum(not torch.equal(_pixels(a), b) for a, b in zip(again, first, strict=True))
                synchronize(setting.device)
                done += 1
    finally:
        decoder.close()
    report.check(f"{name}, decoding again and again", moved == 0, f"{moved} of {done * len(files)} images moved")


def _pixels(decoded: torch.Tensor | str) -> torch.Tensor:
    if isinstance(decoded, str):
        raise RuntimeError(decoded)
    return decoded


def _batches(
    report: Report, setting: Setting, decoder: DecoderTraits | None, files: list[bytes], load: NetworkLoad, times: int
) -> None:
    """Normalised batches of a stream whose consumer lags behind, so that memory handed out too early would show."""
    name, strategy, fidelity = "hybrid", Strategy.HYBRID, Fidelity.EXACT
    if decoder is not None:
        setting = setting.only(decoder)
        name, strategy, fidelity = decoder.name, Strategy.GPU_DECODE, declared_fidelity(decoder)
    first: dict[int, torch.Tensor] = {}
    moved, seen, stop = 0, 0, report.seconds_left * (1 - _SHARE)
    with (
        GPUInputProcessor(setting.device, dtype=setting.dtype, capabilities=setting.capabilities) as processor,
        _busy(load) as busy,
    ):
        inputs = (file for _ in range(1 + times) for file in files)
        options = PreprocessOptions(num_workers=setting.workers, strategy=strategy, fidelity=fidelity)
        stream = processor.batches(inputs, options, batch_size=4)
        for batch in stream:
            if isinstance(batch, ImageFailure):
                raise batch.error
            busy.keep()
            if setting.device.type == "cuda":
                torch.cuda._sleep(_LATE_CYCLES)
            tensor = batch.tensor.clone()
            for place, image in enumerate(batch.images):
                which = image.index % len(files)
                if which in first:
                    moved += not torch.equal(first[which], tensor[place])
                    seen += 1
                else:
                    first[which] = tensor[place].clone()
            if report.seconds_left <= stop:
                break
        stream.close()
    report.check(f"{name}, batches read late", moved == 0 and seen > 0, f"{moved} of {seen} images moved")
