"""Mixed picture files for the checks, made in code: sizes, orientations, chroma samplings, codings, damage."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.batch.processor import BatchProcessor
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.routing.strategy import Choice

__all__ = ["Difference", "Result", "broken_files", "difference", "encode", "mixed_files", "results_of"]

_ORIENTATION_TAG = 0x0112
_PNG_SIZE = (400, 300)


@dataclass(frozen=True, eq=False)
class Result:
    """What a processor made of one file: pixels, normalised values and way; or the error."""

    pixels: npt.NDArray[np.uint8] | None = None
    tensor: torch.Tensor | None = None
    choice: Choice | None = None
    error: str | None = None


@dataclass(frozen=True)
class Difference:
    """Of two pictures: largest in levels, PSNR in dB (infinite where equal), part of samples that differ."""

    levels: int
    psnr_db: float
    differing: float

    def __str__(self) -> str:
        return f"max {self.levels}, {self.psnr_db:.1f} dB, {100 * self.differing:.2g} % differ"


def difference(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> Difference:
    """Compare two pictures of one shape."""
    apart = np.abs(a.astype(np.int16) - b.astype(np.int16))
    error = float((apart.astype(np.float64) ** 2).mean())
    psnr_db = float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))
    return Difference(int(apart.max(initial=0)), psnr_db, float((apart > 0).mean()))


def encode(
    picture: npt.NDArray[np.uint8], kind: str = "JPEG", *, mode: str = "RGB", turn: int = 1, **how: object
) -> bytes:
    """A picture as a file, with an orientation if that is not 1."""
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = turn
    buffer = io.BytesIO()
    options = {"quality": 95, "subsampling": "4:2:0"} if kind == "JPEG" and mode == "RGB" else {}
    options |= {"exif": exif.tobytes()} if turn != 1 else {}
    Image.fromarray(picture).convert(mode).save(buffer, kind, **{**options, **how})
    return buffer.getvalue()


def mixed_files(quick: bool) -> dict[str, bytes]:
    """Name to file; all of them whole."""
    sizes = [(640, 480), (481, 645), (300, 200), (64, 48)]
    sizes += [] if quick else [(1280, 720), (1921, 1081), (1080, 1920), (3840, 2160), (4001, 997)]
    files = {f"{w}x{h}": encode(photo(w, h, 1)) for w, h in sizes}
    turned = photo(645, 485, 2)
    files |= {f"orientation {turn}": encode(turned, turn=turn) for turn in range(1, 9)}
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
    """Name to file, none of them whole: every strategy must say the same of them."""
    whole = encode(photo(640, 480, 5))
    return {
        "cut in half": whole[: len(whole) // 2],
        "cut at 99 %": whole[: len(whole) * 99 // 100],
        "no end marker": whole[:-2],
        "header only": whole[:200],
        "no picture": b"not a picture at all" * 10,
        "empty": b"",
    }


def results_of(processor: BatchProcessor, files: Iterable[bytes], **options: object) -> list[Result]:
    """What `batches` gives for each file, in their order."""
    found: dict[int, Result] = {}
    for item in processor.batches(files, batch_size=4, **options):
        failures = (item,) if isinstance(item, ImageFailure) else item.failures
        for failure in failures:
            found[failure.index] = Result(error=f"{type(failure.error).__name__}: {failure.error}")
        if isinstance(item, ImageFailure):
            continue
        pixels, tensor = item.pixels.cpu().numpy(), item.tensor.cpu()
        for place, image in enumerate(item.images):
            found[image.index] = Result(pixels[place], tensor[place], image.choice)
    return [found[index] for index in sorted(found)]
