"""The Depth Anything 3 networks: normalised images in, depth, and confidence, cameras or sky out."""

from depth_anything_3.model.nested import NestedDepthAnything3Net, build_network
from depth_anything_3.model.network import DepthAnything3Net
from depth_anything_3.model.presets import PRESETS, Preset
from depth_anything_3.model.reference_view import RefViewStrategy

__all__ = [
    "PRESETS",
    "DepthAnything3Net",
    "NestedDepthAnything3Net",
    "Preset",
    "RefViewStrategy",
    "build_network",
]
