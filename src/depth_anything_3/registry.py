"""Kept for clients of upstream: `MODEL_REGISTRY`, the names of the published models."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from depth_anything_3.model.catalog import MODEL_CARDS

__all__ = ["MODEL_REGISTRY"]

MODEL_REGISTRY: Mapping[str, str] = MappingProxyType(
    {name: name for name, card in MODEL_CARDS.items() if not card.is_demonstration}
)
"""Argument of `cfg.load_config` for each published model. In upstream the values are paths of YAML files."""
