"""Kept for clients of upstream: `Prediction` and `Gaussians`."""

from __future__ import annotations

from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.prediction import Prediction

__all__ = ["Gaussians", "Prediction"]
