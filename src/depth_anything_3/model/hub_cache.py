"""Find which checkpoints are in the hub's cache, without the network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from depth_anything_3.errors import ExportError
from depth_anything_3.model.catalog import MODEL_CARDS

__all__ = ["check_disk", "is_cached"]


def is_cached(name: str, *, revision: str | None = None) -> bool:
    """Whether the hub's cache has a complete checkpoint of a hub id, or of the preferred one of a preset."""
    card = MODEL_CARDS.get(name)
    hub_id = card.hub_ids[0] if card and card.hub_ids else name
    if hub_id.count("/") != 1:
        return False
    files = ("config.json", "model.safetensors")
    return all(isinstance(try_to_load_from_cache(hub_id, file, revision=revision), str) for file in files)


def check_disk(name: str, *, revision: str | None = None) -> None:
    """Check that the disk of the hub's cache has room for a checkpoint of the catalog that is not in it.

    Raises:
        ExportError: it has not; the message states both sizes.
    """
    card = next((one for one in MODEL_CARDS.values() if name == one.name or name in one.hub_ids), None)
    if card is None or card.is_demonstration or os.path.exists(name) or is_cached(name, revision=revision):
        return
    folder = Path(constants.HF_HUB_CACHE)
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(existing).free
    if free < card.file_bytes:
        raise ExportError(
            f"{folder}: {name} needs {card.file_bytes / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB are free; free space, "
            "or set HF_HOME to a folder on another disk"
        )
