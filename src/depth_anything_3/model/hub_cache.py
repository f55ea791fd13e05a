"""Find which checkpoints are in the hub's cache, without the network."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import try_to_load_from_cache

__all__ = ["is_cached"]


def is_cached(hub_id: str, cache_dir: Path | None = None) -> bool:
    """Whether the hub's cache has a complete checkpoint of this hub id, at its main revision."""
    files = ("config.json", "model.safetensors")
    return all(isinstance(try_to_load_from_cache(hub_id, file, cache_dir=cache_dir), str) for file in files)
