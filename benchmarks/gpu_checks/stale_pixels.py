"""Check that no decoder hands out the pixels of an earlier image: broken files after whole ones of the same size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits, GPUDecoder
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from gpu_checks.outcome import Report
from harness.fidelity import difference
from harness.images import encode, make_images
from harness.method import Setting, declared_fidelity, find_cuda_decoders

__all__ = ["check_stale_pixels", "run"]

_BATCH = 4
_SETS = 3  # batches of whole files, so that every set of buffers has held one
_SAME_DB = 30.0
"""Different photos are at most 20 dB apart in any quarter, the same one through two decoders above 44."""

OpenDecoder = Callable[[str, torch.device], GPUDecoder]
"""Opens a decoder by name on a device, as `open_decoder` does."""


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Check each installed decoder."""
    size, process_res = ((320, 240), 140) if quick else ((1920, 1080), 504)
    for name, traits in find_cuda_decoders(setting.device).installed.items():
        with report.guard(f"stale pixels, {name}"):
            check_stale_pixels(report, setting, traits, size, process_res)


def check_stale_pixels(
    report: Report,
    setting: Setting,
    traits: DecoderTraits,
    size: tuple[int, int],
    process_res: int,
    open_with: OpenDecoder = open_decoder,
) -> None:
    """Decode whole files A, then broken files B of the same size into the same buffers.

    A result may be an error, the CPU's pixels of B, or another decoder's idea of a damaged B. It must never be A, in
    whole or in the rows that B lacks; and whole files beside B must be themselves. One file of the batch is broken, or
    all of them.

    Args:
        size: (width, height) of all files.
        process_res: the option.
        open_with: opens the decoder.
    """
    before, after = ([encode(one) for one in make_images(*size, seeds)] for seeds in (range(_BATCH), range(100, 104)))
    only, fidelity = setting.only(traits), declared_fidelity(traits)
    options = PreprocessOptions(
        process_res=process_res, num_workers=setting.workers, strategy=Strategy.GPU_DECODE, fidelity=fidelity
    )
    with (
        InputProcessor() as cpu,
        GPUInputProcessor(setting.device, capabilities=only.capabilities, open_decoder=open_with) as processor,
    ):
        old, new = (cpu(files, process_res=process_res, strategy=Strategy.CPU) for files in (before, after))
        for damage, broken in _damaged(after).items():
            for places in ((1,), tuple(range(_BATCH))):
                for first in processor.batches(before * _SETS, options, batch_size=_BATCH):
                    assert isinstance(first, ProcessedBatch), first
                    assert not first.failures, first.failures
                files = [broken[place] if place in places else after[place] for place in range(_BATCH)]
                found = list(processor.batches(files, options, batch_size=_BATCH))
                stale = [text for one in found for text in _wrong(one, old, new, places)]
                share = "one of" if len(places) == 1 else "all of"
                name = f"stale pixels, {traits.name}, {damage}, {share} {_BATCH}"
                report.check(name, not stale, "; ".join(stale) or _described(found, places))


def _damaged(files: list[bytes]) -> dict[str, list[bytes]]:
    """Files with an intact header and an end marker, so that the header's check lets them pass to the decoder."""
    end = b"\xff\xd9"
    return {
        "quantisation tables gone": [file.replace(b"\xff\xdb", b"\xff\xef") for file in files],
        "coded data gone": [file[: _scan(file)] + end for file in files],
        "cut in half, with an end marker": [
            file[: _scan(file) + (len(file) - _scan(file)) // 2] + end for file in files
        ],
        "cut at 90 %, with an end marker": [file[: len(file) * 9 // 10] + end for file in files],
    }


def _scan(file: bytes) -> int:
    """Return where the coded data begins."""
    start = file.index(b"\xff\xda")
    return start + 2 + int.from_bytes(file[start + 2 : start + 4], "big")


def _wrong(
    one: ProcessedBatch | ImageFailure, old: ProcessedBatch, new: ProcessedBatch, broken: tuple[int, ...]
) -> Iterator[str]:
    """Compare each quarter of each result with the earlier images, and whole images with their own pixels."""
    if isinstance(one, ImageFailure):
        return
    for image, pixels in zip(one.images, one.pixels.cpu().numpy(), strict=True):
        rows = pixels.shape[1]
        for quarter in range(4):
            part = slice(quarter * rows // 4, (quarter + 1) * rows // 4)
            for place, earlier in enumerate(old.pixels.numpy()):
                psnr_db = difference(pixels[:, part], earlier[:, part]).psnr_db
                if psnr_db > _SAME_DB:
                    yield f"quarter {quarter + 1} of image {image.index} is of the earlier image {place}"
        own = difference(pixels, new.pixels[image.index].numpy())
        if image.index not in broken and own.psnr_db < _SAME_DB:
            yield f"the whole image {image.index} is wrong: {own}"


def _described(found: list[ProcessedBatch | ImageFailure], places: tuple[int, ...]) -> str:
    failures = sum(1 if isinstance(one, ImageFailure) else len(one.failures) for one in found)
    images = [image for one in found if isinstance(one, ProcessedBatch) for image in one.images]
    by_gpu = sum(image.choice.strategy is Strategy.GPU_DECODE for image in images if image.index in places)
    by_cpu = len(places) - failures - by_gpu
    return f"of the broken files {failures} failed, {by_cpu} by the CPU, {by_gpu} by the GPU; none is an earlier image"
