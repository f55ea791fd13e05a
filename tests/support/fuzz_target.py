"""Decode bytes and fail unless they give the planned pixels or an error of the package."""

from __future__ import annotations

import time
import zlib

import numpy as np

from depth_anything_3.errors import DA3Error
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.choices import Fidelity
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.utils.io.input_processor import InputProcessor

__all__ = ["MAX_SECONDS", "Examiner"]

MAX_SECONDS = 2.0
_MAX_PIXELS = 1 << 20  # of which many are decoded in a second


class Examiner:
    """Probes, plans, decodes and resamples."""

    def __init__(self) -> None:
        InputProcessor().warm_up()  # loading the compiled kernels is not what is timed
        self._preparers = [
            ImagePreparer(
                PreprocessOptions(
                    process_res=process_res,
                    process_res_method=method,
                    fidelity=fidelity,
                    max_pixels=_MAX_PIXELS,
                    max_bytes=1 << 20,
                    allow_truncated=allow,
                )
            )
            for process_res, method, fidelity, allow in (
                (28, "upper_bound_resize", Fidelity.EXACT, False),
                (14, "lower_bound_crop", Fidelity.FAST, True),
            )
        ]

    def __call__(self, data: bytes) -> bool:
        """Whether pixels came of it.

        Raises:
            Exception: anything that is not to come of it.
        """
        began = time.perf_counter()
        came = self._once(self._preparers[zlib.crc32(data) % 2], data)
        if time.perf_counter() - began > MAX_SECONDS:  # or other programs had the processor
            began = time.thread_time()
            self._once(self._preparers[zlib.crc32(data) % 2], data)
            seconds = time.thread_time() - began
            if seconds > MAX_SECONDS:
                raise TimeoutError(f"{seconds:.1f} s")
        return came

    @staticmethod
    def _once(preparer: ImagePreparer, data: bytes) -> bool:
        try:
            opened = preparer.open(0, data)
            prepared = preparer.finish(opened)
        except DA3Error as error:
            assert str(error).startswith("image 0 (")
            return False
        assert prepared.pixels.shape == (3, *opened.plan.result_hw)
        assert prepared.pixels.dtype == np.uint8
        return True
