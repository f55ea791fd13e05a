"""`DepthPreprocessor`: shrink images to the network's size on nodes without a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from depth_anything_3.inputs.choices import ProcessResMethod
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.limits import DEFAULT_PROCESS_RES
from depth_anything_3.jobs.cluster.rows import Batch, ids_of, images_of
from depth_anything_3.utils.io.input_processor import InputProcessor

__all__ = ["DepthPreprocessor"]


class DepthPreprocessor:
    """Decodes images and resizes them to the network's size on the CPU: a 4K photo becomes 0.42 MB of pixels.

    A callable for `map_batches` of Ray Data and the like; pass its rows to `DepthPredictor`, whose results are those of
    the whole images. It loads no network, and can be pickled.

    Args:
        process_res: longest side in pixels. The predictor cannot change it: use what the model expects.
        process_res_method: as in `PreprocessOptions`.
        num_workers: images decoded in parallel, at most one per core.

    Example:
        >>> rows = DepthPreprocessor()({"id": ["a"], "bytes": [open("a.jpg", "rb").read()]})
    """

    def __init__(
        self,
        process_res: int = DEFAULT_PROCESS_RES,
        *,
        process_res_method: str = ProcessResMethod.UPPER_BOUND_RESIZE.value,
        num_workers: int = 2,
    ) -> None:
        self.process_res = process_res
        self.process_res_method = ProcessResMethod(process_res_method)
        self.num_workers = num_workers
        self._processor: InputProcessor | None = None

    def __getstate__(self) -> dict[str, Any]:  # Any: attributes of different types
        return {**self.__dict__, "_processor": None}

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:  # Any: columns of different types
        """Shrink the images of a batch.

        Args:
            batch: as for `DepthPredictor`.

        Returns:
            Rows in the same order: `id`; `pixels`, the bytes of (height, width, 3) uint8 RGB; `pixels_height` and
            `pixels_width`; `error`, class and message, or None.

        Raises:
            InvalidInputError: the batch has no column with images.
        """
        ids = ids_of(batch)
        self._processor = self._processor or InputProcessor()
        prepared = self._processor.iterate(
            images_of(batch, ids),  # type: ignore[arg-type]  # the processor takes sources too
            process_res=self.process_res,
            process_res_method=self.process_res_method,
            num_workers=self.num_workers,
            on_error="skip",
        )
        rows: dict[str, list[Any]] = {"id": ids, "pixels": [], "pixels_height": [], "pixels_width": [], "error": []}
        for one in prepared:
            if isinstance(one, ImageFailure):
                values: tuple[Any, ...] = (None, None, None, f"{type(one.error).__name__}: {one.error}")
            else:
                height, width = one.pixels.shape[1:]
                values = (np.ascontiguousarray(one.pixels.transpose(1, 2, 0)).tobytes(), height, width, None)
            for name, value in zip(tuple(rows)[1:], values, strict=True):
                rows[name].append(value)
        return rows
