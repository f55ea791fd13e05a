"""Time each part of the way from four 4K files to a normalised batch on its own, and the engine at several batch sizes.

docs/benchmarks.md holds the expectations. Page-locked code streams are timed beside the plain way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits, GPUDecoder
from depth_anything_3.inputs.decode.gpu.nvimgcodec import NAME, NvImageCodecDecoder
from depth_anything_3.inputs.decode.gpu.pinned_files import PinnedFiles
from depth_anything_3.inputs.header import Buffer, ImageHeader, probe
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from gpu_checks.kernels import SIZES, time_resampler
from gpu_checks.outcome import Report
from harness.images import encode, make_images
from harness.method import Setting, declared_fidelity, find_cuda_decoders
from harness.timing import Timing, take_turns, timed

__all__ = ["run"]

_BATCH = 4
_ENGINE_BATCHES = (1, 4, 7, 16)  # 7: an H100 has as many engines
_ROUNDS = 15
_ENGINE_SHARE = 0.5  # of the seconds
_PARTS_SHARE = 0.8  # of those left
_WAYS = {"plain": False, "page-locked": True}
"""Name to `pinned` of the decoder."""


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Time the engine alone, then the parts of the budget and the whole."""
    traits = find_cuda_decoders(setting.device).installed.get(NAME)
    if traits is None:
        report.skipped("budget", f"{NAME} is not installed")
        return
    height, width = (240, 320) if quick else SIZES["4K"]
    files = [encode(one) for one in make_images(width, height, range(_BATCH))]
    rounds = 2 if quick else _ROUNDS
    with report.guard("engine alone"):
        _engine(report, setting, files, rounds)
    with report.guard("budget"):
        _parts(report, setting, traits, files, rounds)


def _engine(report: Report, setting: Setting, files: list[bytes], rounds: int) -> None:
    """Decode alone, until the pixels are there: the engine, the copy of the files, and the library's own work."""
    share = _ENGINE_SHARE * report.seconds_left / len(_ENGINE_BATCHES)
    for count in _ENGINE_BATCHES:
        many = [files[place % len(files)] for place in range(count)]
        headers = [probe(file, "file") for file in many]
        with _decoders(setting) as decoders:
            calls = {
                name: timed(partial(_decode, decoder, many, headers), setting.device)
                for name, decoder in decoders.items()
            }
            timings = take_turns(calls, rounds=rounds, warm_up=2, seconds=share)
        _report(report, f"decode alone, batch {count}", timings, count)


@contextmanager
def _decoders(setting: Setting) -> Iterator[Mapping[str, GPUDecoder]]:
    decoders = {name: NvImageCodecDecoder(setting.device, pinned=pinned) for name, pinned in _WAYS.items()}
    try:
        yield decoders
    finally:
        for decoder in decoders.values():
            decoder.close()


def _decode(decoder: GPUDecoder, files: Sequence[Buffer], headers: Sequence[ImageHeader]) -> list[torch.Tensor]:
    decoded = decoder.decode(files, headers, [None] * len(files))
    pixels = [one for one in decoded if isinstance(one, torch.Tensor)]
    if len(pixels) < len(files):
        raise RuntimeError(next(one for one in decoded if isinstance(one, str)))
    return pixels


def _report(report: Report, name: str, timings: Mapping[str, Timing], count: int) -> None:
    """Report milliseconds for the batch; where there are two ways, also the ratio of single turns."""
    text = ", ".join(f"{way} {one.median_ms:.3f}" for way, one in timings.items())
    if set(_WAYS) <= set(timings):
        faster = timings["page-locked"].times_faster_than(timings["plain"])
        text += f"; page-locked {faster:.2f} times faster"
    data = {way: one.times_ms for way, one in timings.items()}
    report.measured(name, f"ms for {count}: {text}", times_ms=data)


def _open(pinned: bool, _name: str, device: torch.device) -> GPUDecoder:
    return NvImageCodecDecoder(device, pinned=pinned)


class _ReadyDecoder:
    """Returns pixels that are already on the device, so that only the work around decoding is left."""

    def __init__(self, traits: DecoderTraits, pixels: list[torch.Tensor]) -> None:
        self.traits = traits
        self._pixels = pixels

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        return list(self._pixels)

    def close(self) -> None:
        self._pixels = []


def _parts(report: Report, setting: Setting, traits: DecoderTraits, files: list[bytes], rounds: int) -> None:
    """Time the copies of the files, the host's work around decoding, the kernels, and everything together."""
    device = setting.device
    headers = [probe(file, "file") for file in files]
    copy_files = PinnedFiles(device)
    locked = [torch.from_numpy(view) for view in PinnedFiles(device)(files)]
    plain = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    with _decoders(setting) as decoders:
        pixels = [one.clone() for one in _decode(decoders["plain"], files, headers)]
    made: list[GPUInputProcessor] = []

    def whole(open_decoder: Callable[[str, torch.device], GPUDecoder]) -> Callable[[], object]:
        capabilities = setting.only(traits).capabilities
        made.append(
            GPUInputProcessor(device, dtype=setting.dtype, capabilities=capabilities, open_decoder=open_decoder)
        )
        return partial(
            made[-1],
            files,
            num_workers=setting.workers,
            strategy=Strategy.GPU_DECODE,
            fidelity=declared_fidelity(traits),
        )

    groups: dict[str, dict[str, Callable[[], object]]] = {
        "copy of the files to page-locked memory": {"on the host": partial(copy_files, files)},
        "copy of the files to the GPU": {
            "plain": lambda: [one.to(device, copy=True) for one in plain],
            "page-locked": lambda: [one.to(device, copy=True, non_blocking=True) for one in locked],
        },
        "all but decoding: Python, launches, resampling": {
            "ready pixels": whole(lambda *_: _ReadyDecoder(traits, pixels)),
        },
        "the whole": {name: whole(partial(_open, pinned)) for name, pinned in _WAYS.items()},
    }
    try:
        share = _PARTS_SHARE * report.seconds_left / len(groups)
        for name, calls in groups.items():
            steps = {way: timed(call, device) for way, call in calls.items()}
            _report(report, name, take_turns(steps, rounds=rounds, warm_up=2, seconds=share), _BATCH)
    finally:
        for processor in made:
            processor.close()
    height, width = headers[0].stored_hw
    one = time_resampler(setting, setting.capabilities.resamplers[0], (height, width), "interleaved")
    text = f"{one.device_ms:.3f} ms on the device, launches {one.host_ms:.3f} ms on the host"
    report.measured("resampling and normalising alone", text, device_ms=one.device_ms, host_ms=one.host_ms)
