"""Make image files for the checks, of mixed sizes, orientations, chroma samplings, codings and damage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.choices import Fidelity, ProcessResMethod, Strategy
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.routing.strategy import RoutingDecision
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from harness.fidelity import Difference, difference
from harness.images import encode
from harness.method import Setting

__all__ = ["Result", "broken_files", "compare", "mixed_files", "results_by_method", "results_of", "strategies_here"]

_PNG_SIZE = (400, 300)


@dataclass(frozen=True, eq=False)
class Result:
    """What a processor made of one file: pixels, normalised values and choice; or the error."""

    pixels: npt.NDArray[np.uint8] | None = None
    tensor: torch.Tensor | None = None
    choice: RoutingDecision | None = None
    error: str | None = None


def mixed_files(quick: bool) -> dict[str, bytes]:
    """Name to file; all of them whole."""
    sizes = [(640, 480), (481, 645), (300, 200), (64, 48)]
    sizes += [] if quick else [(1280, 720), (1921, 1081), (1080, 1920), (3840, 2160), (4001, 997)]
    files = {f"{w}x{h}": encode(photo(w, h, 1)) for w, h in sizes}
    turned = photo(645, 485, 2)
    files |= {f"orientation {turn}": encode(turned, orientation=turn) for turn in range(1, 9)}
    sampled = photo(803, 601, 3)
    files |= {name: encode(sampled, subsampling=name) for name in ("4:4:4", "4:2:2", "4:2:0")}
    files["grey"] = encode(sampled, mode="L")
    files["restart markers"] = encode(sampled, restart_marker_rows=4)
    files["quality 60"] = encode(sampled, quality=60)
    files["progressive"] = encode(sampled, progressive=True)
    files["CMYK"] = encode(sampled, mode="CMYK")
    files["PNG"] = encode(photo(*_PNG_SIZE, 4), "PNG")
    return files


def broken_files() -> dict[str, bytes]:
    """Name to file, none of them whole: every strategy must give the same error."""
    whole = encode(photo(640, 480, 5))
    return {
        "cut in half": whole[: len(whole) // 2],
        "cut at 99 %": whole[: len(whole) * 99 // 100],
        "no end marker": whole[:-2],
        "header only": whole[:200],
        "no image": b"not an image at all" * 10,
        "empty": b"",
    }


def results_of(
    processor: InputProcessor | GPUInputProcessor,
    files: Iterable[bytes],
    *,
    method: ProcessResMethod = ProcessResMethod.UPPER_BOUND_RESIZE,
    strategy: Strategy = Strategy.AUTO,
    fidelity: Fidelity = Fidelity.EXACT,
    workers: int = 8,
) -> list[Result]:
    """Collect the results of `batches` by file, in order."""
    found: dict[int, Result] = {}
    options = PreprocessOptions(process_res_method=method, strategy=strategy, fidelity=fidelity, num_workers=workers)
    for item in processor.batches(files, options, batch_size=4):
        failures = (item,) if isinstance(item, ImageFailure) else item.failures
        for failure in failures:
            found[failure.index] = Result(error=f"{type(failure.error).__name__}: {failure.error}")
        if isinstance(item, ImageFailure):
            continue
        pixels, tensor = item.pixels.cpu().numpy(), item.tensor.cpu()
        for place, image in enumerate(item.images):
            found[image.index] = Result(pixels[place], tensor[place], image.choice)
    return [found[index] for index in sorted(found)]


def results_by_method(
    processor: InputProcessor, files: Iterable[bytes], workers: int
) -> dict[ProcessResMethod, list[Result]]:
    """Collect the results of the processor by `process_res_method`."""
    files = list(files)
    return {method: results_of(processor, files, method=method, workers=workers) for method in ProcessResMethod}


def compare(results: Sequence[Result], truths: Sequence[Result]) -> list[Difference]:
    """Compare the results of each file, in order."""
    differences = []
    for result, truth in zip(results, truths, strict=True):
        assert result.pixels is not None, result.error
        assert truth.pixels is not None, truth.error
        differences.append(difference(result.pixels, truth.pixels))
    return differences


def strategies_here(setting: Setting) -> list[Strategy]:
    """List the strategies that a model can be timed with on this machine."""
    if setting.device.type != "cuda":
        return [Strategy.AUTO, Strategy.CPU]
    gpu_decode = [Strategy.GPU_DECODE] if setting.capabilities.decoders else []
    return [Strategy.AUTO, Strategy.CPU, Strategy.HYBRID, *gpu_decode]
