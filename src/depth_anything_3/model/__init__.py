"""The Depth Anything 3 network: normalised images in, depth, confidence and cameras out."""

from depth_anything_3.model.network import DepthAnything3Net
from depth_anything_3.model.presets import PRESETS, Preset
from depth_anything_3.model.reference_view import RefViewStrategy

__all__ = ["PRESETS", "DepthAnything3Net", "Preset", "RefViewStrategy"]
