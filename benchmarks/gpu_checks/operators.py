"""Check every strategy and resampler against `InputProcessor`, on mixed files and on frames on the GPU."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from depth_anything_3.inputs.choices import ProcessResMethod, ResamplerName, Strategy
from depth_anything_3.inputs.resample.gpu import available_resamplers
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from gpu_checks.outcome import Report
from gpu_checks.samples import Result, broken_files, compare, mixed_files, results_by_method, results_of
from harness.fidelity import difference, worst
from harness.method import Setting

__all__ = ["run"]

_DTYPES = {torch.float32: 1e-6, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
"""To the largest error of a normalised value that one rounding to the dtype may make (the values are below 4)."""

_BOUNDS = {Strategy.CPU: 0, Strategy.HYBRID: 0, Strategy.FULL_GPU: 1}
"""Levels that a strategy may be away from the CPU's pixels."""


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Check all strategies that decode on the CPU; the GPU's decoders have a section of their own."""
    files = mixed_files(quick)
    with InputProcessor() as cpu:
        truths = results_by_method(cpu, files.values(), setting.workers)
        for name in reversed(available_resamplers(setting.device)):  # the plainest first
            with report.guard(f"resampler {name}"):
                for dtype, bound in _DTYPES.items():
                    _resampler(report, setting, name, dtype, bound, files, truths)
        with report.guard("resampler kornia"):
            _kornia(report, setting, files, truths)
        with report.guard("frames on the GPU"):
            _frames(report, setting, files, cpu)
        with report.guard("broken files"):
            _broken(report, setting, cpu)


def _resampler(
    report: Report,
    setting: Setting,
    name: ResamplerName,
    dtype: torch.dtype,
    bound: float,
    files: dict[str, bytes],
    truths: dict[ProcessResMethod, list[Result]],
) -> None:
    """The strategies that decode on the CPU; the dtype changes only the normalisation, so one method is enough."""
    methods = list(ProcessResMethod) if dtype is torch.float32 else [ProcessResMethod.UPPER_BOUND_RESIZE]
    with GPUInputProcessor(setting.device, dtype=dtype, resampler=name, capabilities=setting.capabilities) as processor:
        for strategy, levels in _BOUNDS.items():
            found, errors = {}, []
            for method in methods:
                results = results_of(
                    processor, files.values(), method=method, strategy=strategy, workers=setting.workers
                )
                for file, one in zip(files, compare(results, truths[method]), strict=True):
                    found[f"{file}, {method.value}"] = one
                errors.append(_normalisation_error(results))
            total, error = worst(list(found.values())), max(errors)
            what = f"{strategy.value}, {name}, {str(dtype).removeprefix('torch.')}"
            text = f"{len(found)} results: {total}; normalised within {error:.2g}"
            data = {key: str(one) for key, one in found.items() if one.levels > 0}
            report.check(what, total.levels <= levels and error <= bound, text, files=data)


def _kornia(
    report: Report, setting: Setting, files: dict[str, bytes], truths: dict[ProcessResMethod, list[Result]]
) -> None:
    """Report the error of the naive resampler, which has no bound."""
    method = ProcessResMethod.UPPER_BOUND_RESIZE
    with GPUInputProcessor(setting.device, resampler="kornia", capabilities=setting.capabilities) as processor:
        results = results_of(processor, files.values(), strategy=Strategy.FULL_GPU, workers=setting.workers)
    found = compare(results, truths[method])
    data = {file: str(one) for file, one in zip(files, found, strict=True)}
    report.measured("full_gpu, kornia", f"{len(found)} results: {worst(found)}", files=data)


def _normalisation_error(results: Sequence[Result]) -> float:
    """Largest difference of the normalised values from those that the CPU gives for the same pixels."""
    levels = normalized_levels()
    errors = []
    for result in results:
        assert result.pixels is not None
        assert result.tensor is not None
        errors.append(float((result.tensor.float() - torch.from_numpy(normalize(result.pixels, levels))).abs().max()))
    return max(errors)


def _frames(report: Report, setting: Setting, files: dict[str, bytes], cpu: InputProcessor) -> None:
    """Check frames in GPU memory, contiguous and as views with other strides."""
    for name in available_resamplers(setting.device):
        with GPUInputProcessor(setting.device, resampler=name, capabilities=setting.capabilities) as processor:
            found = []
            for file in ("640x480", "481x645", "64x48"):
                pixels = np.array(Image.open(io.BytesIO(files[file])).convert("RGB"))
                interleaved = torch.from_numpy(pixels).to(setting.device).permute(2, 0, 1)
                padded = torch.nn.functional.pad(interleaved, (3, 5, 2, 1))[:, 2:-1, 3:-5]
                frames = [interleaved, interleaved.contiguous(), padded]
                truth = cpu([pixels], num_workers=1).pixels[0].numpy()
                batch = processor(frames, num_workers=setting.workers)
                assert all(one.choice.strategy is Strategy.FULL_GPU for one in batch.images)
                found += [difference(one, truth) for one in batch.pixels.cpu().numpy()]
            total = worst(found)
            report.check(f"frames on the GPU, {name}", total.levels <= 1, f"{len(found)} frames: {total}")


def _broken(report: Report, setting: Setting, cpu: InputProcessor) -> None:
    """Errors must be those of the CPU with every strategy; an intact file among them must be decoded."""
    broken = broken_files()
    truths = [one.error for one in results_of(cpu, broken.values())]
    with GPUInputProcessor(setting.device, capabilities=setting.capabilities) as processor:
        for strategy in (Strategy.AUTO, *_BOUNDS):
            errors = [one.error for one in results_of(processor, broken.values(), strategy=strategy)]
            wrong = {name: [a, b] for name, a, b in zip(broken, errors, truths, strict=True) if a != b}
            text = f"{len(errors) - len(wrong)} of {len(errors)} errors as on the CPU"
            report.check(f"broken files, {strategy.value}", not wrong, text, wrong=wrong)
