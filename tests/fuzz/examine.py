"""Bytes in; an error if anything but pixels, as planned, or an error of ours comes of them."""

from __future__ import annotations

import time

import numpy as np

from depth_anything_3.errors import DA3Error
from depth_anything_3.utils.io.input_processor import InputProcessor
from depth_anything_3.utils.io.prepare import ImagePreparer
from depth_anything_3.utils.io.reading import Reading
from depth_anything_3.utils.io.strategy import Fidelity

__all__ = ["MOST_SECONDS", "Examiner"]

MOST_SECONDS = 2.0
_MOST_PIXELS = 1 << 20  # of which many are decoded in a second


class Examiner:
    """Probes, plans, decodes and resamples."""

    def __init__(self) -> None:
        InputProcessor().warm_up()  # loading the compiled kernels is not what is timed
        self._preparers = [
            ImagePreparer(process_res, method, fidelity=fidelity, reading=Reading(_MOST_PIXELS, 1 << 20, allow))
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
        for _ in range(2):  # where other programs had the processor, the second time is quick
            began = time.perf_counter()
            came = [self._once(preparer, data) for preparer in self._preparers]
            seconds = time.perf_counter() - began
            if seconds <= MOST_SECONDS:
                break
        else:
            raise TimeoutError(f"{seconds:.1f} s")
        if came[0] and came[1] is False:
            raise AssertionError("refused only where damage is allowed")
        return bool(came[0])

    @staticmethod
    def _once(preparer: ImagePreparer, data: bytes) -> bool | None:
        """None: a size of which no result can be made."""
        try:
            opened = preparer.open(0, data)
        except DA3Error as error:
            assert str(error).startswith("image 0 (")
            return None
        try:
            prepared = preparer.finish(opened)
        except DA3Error as error:
            assert str(error).startswith("image 0 (")
            return False
        assert prepared.pixels.shape == (3, *opened.plan.result_hw)
        assert prepared.pixels.dtype == np.uint8
        return True
