"""Depth inside the user's own engine: callable classes for Ray Data, Daft and Spark, none of which is imported."""

from __future__ import annotations

from depth_anything_3.jobs.cluster.predictor import DepthPredictor
from depth_anything_3.jobs.cluster.preprocessor import DepthPreprocessor

__all__ = ["DepthPredictor", "DepthPreprocessor"]
