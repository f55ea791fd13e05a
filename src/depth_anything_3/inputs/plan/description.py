"""Describe resize plans by plain values, which programs in other languages can apply."""

from __future__ import annotations

from typing import Any

import numpy as np

from depth_anything_3.inputs.plan.banded_operator import BandedOperator, resample_passes
from depth_anything_3.inputs.plan.resize_plan import ResizePlan

__all__ = ["PlanDescriber"]

Values = dict[str, Any]  # Any: what JSON holds


class PlanDescriber:
    """Describes plans; those of images of one size and orientation share their operators.

    Attributes:
        operators: the operators that descriptions refer to by index: `source_size`; `start` and `count`, one value a
            row; and `weights`, those of all rows, one after another, in as few digits as float32 needs.
    """

    def __init__(self) -> None:
        self.operators: list[Values] = []
        self._index: dict[tuple[int, bytes, bytes, bytes], int] = {}
        self._passes: dict[ResizePlan, list[Values]] = {}

    def describe(self, plan: ResizePlan) -> Values:
        """Return sizes, resizes, crop and passes; see docs/export-model.md#input-in-other-languages."""
        crop = plan.crop
        return {
            "stored_hw": list(plan.stored_hw),
            "source_hw": list(plan.source_hw),
            "target_hw": list(plan.result_hw),
            "resizes": [
                {"result_hw": list(step.result_hw), "interpolation": step.interpolation.value} for step in plan.steps
            ],
            "crop": crop and {"top": crop.top, "left": crop.left, "height": crop.height, "width": crop.width},
            "passes": self._described_passes(plan),
        }

    def _described_passes(self, plan: ResizePlan) -> list[Values]:
        if plan not in self._passes:
            self._passes[plan] = [
                {
                    "rows": self._index_of(one.rows),
                    "columns": self._index_of(one.columns),
                    "ties": "up" if one.ties_up else "even",
                    "transpose": one.transpose,
                }
                for one in resample_passes(plan)
            ]
        return self._passes[plan]

    def _index_of(self, operator: BandedOperator) -> int:
        weights = operator.weights[np.arange(operator.weights.shape[1]) < operator.count[:, None]].astype(np.float32)
        key = operator.source_size, operator.start.tobytes(), operator.count.tobytes(), weights.tobytes()
        if key not in self._index:
            self._index[key] = len(self.operators)
            self.operators.append(
                {
                    "source_size": operator.source_size,
                    "start": operator.start.tolist(),
                    "count": operator.count.tolist(),
                    "weights": weights.astype(str).astype(np.float64).tolist(),
                }
            )
        return self._index[key]
