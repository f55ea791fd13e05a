"""Colour the images of a run with one range of depth, which is known only after the last of them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export import ExportFormat, ExportOptions, export
from depth_anything_3.export.format_options import ColorOptions
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = [
    "Colored",
    "DepthHistogram",
    "HeldImages",
    "check_shared_range",
    "shared_formats",
    "with_depth_range",
    "with_shared_range",
]

FloatArray = npt.NDArray[np.floating]

_PERCENTILE = 2.0  # as of one image
_MIN_VALID = 10  # as of one image
_OCTAVES, _BINS_PER_OCTAVE = 160, 512  # a bin is 0.14 % wide; depth is 2**-80 to 2**80


def shared_formats(formats: Iterable[ExportFormat], options: ExportOptions | None) -> tuple[ExportFormat, ...]:
    """Select the formats of independent images whose colours have one range for the whole run."""
    given = options or ExportOptions()
    # Not glb, whose options are a subclass: it writes coloured depth of views alone.
    colored = [one for one in formats if one.options_class() is ColorOptions]
    return tuple(one for one in colored if getattr(given.of(one), "shared_range", False))


def check_shared_range(shared: Sequence[ExportFormat], *, resume: bool, is_split: bool) -> None:
    """Check that a run computes all images whose colours have one range.

    Args:
        shared: from `shared_formats`.
        resume: whether complete images are skipped.
        is_split: whether the run is a shard, or has several devices.

    Raises:
        InvalidInputError: it does not.
    """
    if shared and resume:
        raise InvalidInputError(
            "shared_range=True does not work with resume=True: the range depends on the depth of all images; compute "
            "all anew, or set the range with depth_range"
        )
    if shared and is_split:
        raise InvalidInputError(
            "shared_range=True does not work with shards and several devices: the range depends on the depth of all "
            "images; set it with depth_range"
        )


def with_depth_range(options: ExportOptions | None, depth_range: tuple[float, float] | None) -> ExportOptions:
    """Replace `shared_range` by the range that was found."""
    given = options or ExportOptions()
    kwargs = {
        name: {key: value for key, value in one.items() if key != "shared_range"}
        for name, one in given.export_kwargs.items()
    }
    return replace(given, export_kwargs=kwargs, shared_range=None, depth_range=depth_range)


def with_shared_range(options: ExportOptions, depths: Iterable[FloatArray]) -> ExportOptions:
    """Replace `shared_range` by the range of these depth maps."""
    histogram = DepthHistogram()
    for depth in depths:
        histogram.add(depth)
    return with_depth_range(options, histogram.depth_range())


class DepthHistogram:
    """Histogram of the depth of many images, in which each counts the same; its size is fixed."""

    def __init__(self) -> None:
        self._shares = np.zeros(_OCTAVES * _BINS_PER_OCTAVE)

    def add(self, depth: FloatArray) -> None:
        """Add a depth map of any shape; one with ten valid depths or fewer does not count."""
        valid = depth[np.isfinite(depth) & (depth > 0)]
        if valid.size <= _MIN_VALID:
            return
        place = (np.log2(valid.astype(np.float64)) + _OCTAVES / 2) * _BINS_PER_OCTAVE
        bins = np.clip(place, 0, self._shares.size - 1).astype(np.int64)
        self._shares += np.bincount(bins, minlength=self._shares.size) / valid.size

    def depth_range(self) -> tuple[float, float] | None:
        """Return the 2nd and 98th percentile of depth, to 0.14 %; None if there is no valid depth."""
        total = np.cumsum(self._shares)
        if not total[-1]:
            return None
        wanted = np.array([_PERCENTILE, 100.0 - _PERCENTILE]) / 100.0 * total[-1]
        near, far = np.searchsorted(total, wanted)  # the bins of the two percentiles, both included
        edges = np.array([near, max(far, near) + 1]) / _BINS_PER_OCTAVE - _OCTAVES / 2
        low, high = np.exp2(edges)
        return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Colored:
    """An image whose coloured depth is written.

    Attributes:
        prediction: its depth, and the image if it was held too.
        files: what was written.
        options: options of the writers, with the range that was found.
    """

    prediction: Prediction
    files: list[Path]
    options: ExportOptions


@dataclass
class _Held:
    """An image that is not coloured yet.

    Attributes:
        file: with its depth, and the image if a format shows it.
        name: of its results.
        done: called when its coloured depth is written.
    """

    file: Path
    name: str
    done: Callable[[Colored], None]


@dataclass
class HeldImages:
    """Holds the depth of images on disk, in the export folder, until their common range is known.

    Attributes:
        folder: export folder.
        formats: from `shared_formats`; if there are none, nothing is held.
        options: options of the writers.
        keeps_images: hold the images too, also if no format shows them.
    """

    folder: Path
    formats: Sequence[ExportFormat]
    options: ExportOptions | None
    keeps_images: bool = False
    _histogram: DepthHistogram = field(default_factory=DepthHistogram)
    _images: list[_Held] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Named as a temporary file, so that a run with `resume` removes what a killed one has left.
        self._spool = self.folder / f".{uuid.uuid4().hex}.spool"

    def add(self, prediction: Prediction, name: str, done: Callable[[Colored], None]) -> None:
        """Hold an image.

        Raises:
            ExportError: the file cannot be written.
        """
        self._histogram.add(prediction.depth)
        arrays: dict[str, npt.NDArray[Any]] = {"depth": prediction.depth}  # Any: each has its own dtype
        keeps_images = self.keeps_images or any(one.required.images for one in self.formats)
        if prediction.processed_images is not None and keeps_images:
            arrays["image"] = prediction.processed_images
        held = _Held(self._spool / f"{len(self._images)}.npz", name, done)
        with atomic_write(held.file) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]
        self._images.append(held)

    @contextmanager
    def coloring(self) -> Iterator[None]:
        """Colour what was held at the end of the block, also after Ctrl-C or a damaged image.

        Raises:
            ExportError: a file cannot be written.
        """
        try:
            yield
        except ExportError:  # the disk is full, for example
            raise
        except BaseException:
            self._color()
            raise
        else:
            self._color()
        finally:
            shutil.rmtree(self._spool, ignore_errors=True)

    def _color(self) -> None:
        options = with_depth_range(self.options, self._histogram.depth_range())
        for one in self._images:
            with np.load(one.file, allow_pickle=False) as arrays:
                prediction = Prediction(depth=arrays["depth"], processed_images=arrays.get("image"))
            one.done(Colored(prediction, export(prediction, self.folder, self.formats, one.name, options), options))
            one.file.unlink(missing_ok=True)
