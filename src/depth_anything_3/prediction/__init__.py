"""Hold a prediction, and convert it to metric depth or given poses."""

from depth_anything_3.prediction.prediction import Prediction

__all__ = ["Prediction"]
