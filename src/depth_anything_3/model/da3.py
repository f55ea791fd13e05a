"""Kept for clients of upstream: the classes of the networks. Theirs take modules, these take a preset."""

from __future__ import annotations

from depth_anything_3.model.nested import NestedDepthAnything3Net
from depth_anything_3.model.network import DepthAnything3Net

__all__ = ["DepthAnything3Net", "NestedDepthAnything3Net"]
