"""The result of inference, and its conversion to metric depth and given poses."""

from depth_anything_3.prediction.prediction import Prediction

__all__ = ["Prediction"]
