"""`DepthPredictor`: depth of a batch of rows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import DA3Error
from depth_anything_3.export import ExportOptions, check_formats, parse_formats
from depth_anything_3.export.fields import AvailableFields
from depth_anything_3.inference.options import BatchOptions, StreamOptions
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs.cluster.rows import Batch, ids_of, images_of, pixels_columns
from depth_anything_3.jobs.result_row import ResultRow, RowEncoder, column_of
from depth_anything_3.runtime.option_values import positive_int

__all__ = ["DepthPredictor"]


@dataclass(frozen=True)
class _Loaded:
    """A model, and the lock of its users."""

    model: DepthAnything3
    lock: threading.Lock = field(default_factory=threading.Lock)


@lru_cache(maxsize=2)
def _loaded(model: str, device: str, dtype: str) -> _Loaded:
    """Load weights once a process: some engines unpickle the callable anew for each task."""
    return _Loaded(DepthAnything3.from_pretrained(model, device, dtype))  # type: ignore[arg-type]  # checked there


class DepthPredictor:
    """Computes depth of a batch of rows: a callable for Ray Data's `map_batches`, Daft or Spark's `mapInPandas`.

    It imports none of these. Weights are loaded at the first call, once a process. An image that cannot be used costs
    its row, which says why; an error of the device or of the weights is raised. It can be pickled.

    Args:
        model: a hub id, a preset, or a folder that every node can read; see `DepthAnything3.from_pretrained`.
        outputs: formats with one file an image (docs/exports.md), each a column of bytes: `depth` for depth_png, else
            the format's name. The bytes are those of the files that `da3 images` writes.
        process_res: as in `PreprocessOptions`; no effect on rows of `DepthPreprocessor`.
        batch_size: images computed together, or "auto": what memory holds on CUDA, elsewhere 1.
        num_threads: threads of torch on the CPU; None: torch's own choice, which Ray sets to one by OMP_NUM_THREADS.
        num_workers: images decoded in parallel, at most one per core.
        device, dtype: as in `DepthAnything3.from_pretrained`.

    Raises:
        InvalidInputError: a format is unknown or has several files, or a value is not accepted.

    Example:
        >>> rows = DepthPredictor("da3-nano")({"id": ["a"], "bytes": [open("a.jpg", "rb").read()]})
        >>> rows["depth"][0][:4], rows["error"]
        (b'\\x89PNG', [None])
    """

    def __init__(
        self,
        model: str,
        *,
        outputs: Sequence[str] = ("depth_png",),
        process_res: int | None = None,
        batch_size: int | Literal["auto"] = "auto",
        num_threads: int | None = None,
        num_workers: int = 8,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self.model = str(model)
        self.formats = tuple(one.name for one in parse_formats(outputs))
        if num_threads is not None:
            positive_int("num_threads", num_threads)
        self.num_threads = num_threads
        self.device, self.dtype = device, dtype
        self._preprocess = PreprocessOptions(process_res=process_res, num_workers=num_workers)
        self._batching = BatchOptions(batch_size=batch_size)
        RowEncoder(parse_formats(self.formats))  # checks the formats

    def load(self) -> DepthAnything3:
        """Load the weights now, for an engine that constructs the callable where it runs.

        Raises:
            CheckpointError: the weights cannot be loaded.
            UnsupportedError: the model does not predict what a format needs.
        """
        model = _loaded(self.model, self.device, self.dtype).model
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        check_formats(self.formats, AvailableFields.expected(model.card), ExportOptions())
        return model

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:  # Any: columns of different types
        """Compute depth of the rows of a batch.

        Args:
            batch: columns by name. `bytes`, `image`, `jpg`, `jpeg`, `png` or `webp`: encoded files, uint8 RGB arrays
                (H, W, 3), or mappings with `bytes` and `path`; or `path` alone; or the rows of `DepthPreprocessor`.
                `id`, `__key__` or `path` names the rows; without these, their number in the batch does.

        Returns:
            Rows in the same order: `id`, a column for each format, `depth_scale`, `unit`, `height`, `width`, `model`,
            `da3_version`, `warnings` (a list of texts), `error` (class and message, or None), and `ms`, the time of
            decoding, resampling and network.

        Raises:
            InvalidInputError: the batch has no column with images.
            CheckpointError: the weights cannot be loaded.
            DeviceError: the GPU failed.
        """
        ids = ids_of(batch)
        images = images_of(batch, ids)
        model = self.load()
        results: list[tuple[ResultRow, float]] = [(ResultRow(id=one), 0.0) for one in ids]
        formats = parse_formats(self.formats)
        with _loaded(self.model, self.device, self.dtype).lock, RowEncoder(formats) as encoder:
            for process_res, places in self._groups(images, pixels_columns(batch)).items():
                computed = self._compute(model, [images[one] for one in places], process_res, encoder)
                for place, result in zip(places, computed, strict=True):
                    results[place] = result
        columns: dict[str, list[Any]] = {"id": ids}
        columns |= {column_of(one): [row.files.get(column_of(one)) for row, _ in results] for one in formats}
        for name in ResultRow(id="").facts():
            columns[name] = [row.facts()[name] for row, _ in results]
        columns["ms"] = [round(ms, 3) for _, ms in results]
        return columns

    def _groups(self, images: Sequence[ImageSource], at_network_size: bool) -> dict[int | None, list[int]]:
        """Group the places of images by `process_res`: of pixels at the network's size, that which keeps them."""
        groups: dict[int | None, list[int]] = {}
        for place, one in enumerate(images):
            keeps = at_network_size and isinstance(one.data, np.ndarray)
            size = max(np.shape(one.data)[:2]) if keeps else self._preprocess.process_res  # type: ignore[arg-type]
            groups.setdefault(size, []).append(place)
        return groups

    def _compute(
        self, model: DepthAnything3, images: Sequence[ImageSource], process_res: int | None, encoder: RowEncoder
    ) -> list[tuple[ResultRow, float]]:
        """Compute images; return the row and the milliseconds of each, in order."""
        options = StreamOptions(
            preprocess=PreprocessOptions(process_res=process_res, num_workers=self._preprocess.num_workers),
            batching=self._batching,
        )
        rows: list[tuple[ResultRow, float]] = []

        def fail(failure: ImageFailure) -> None:
            rows.append((ResultRow.failed(images[len(rows)].label, failure.error, model.model_name), 0.0))

        for prediction in model.engine.stream(images, options, fail):  # type: ignore[arg-type]  # it takes sources too
            id = images[len(rows)].label
            try:
                row = encoder.encode(id, prediction)
            except DA3Error as error:
                row = ResultRow.failed(id, error, model.model_name)
            rows.append((row, 1e3 * sum(prediction.seconds.values())))
        return rows
