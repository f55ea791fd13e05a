"""Find which checkpoints are in the hub's cache, without the network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError, safe_open

from depth_anything_3.errors import ExportError
from depth_anything_3.model.catalog import MODEL_CARDS, ModelCard
from depth_anything_3.runtime.disk import disk_space

__all__ = ["CachedCheckpoint", "cache_folder", "check_disk", "find_cached", "is_cached", "weights_problem"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class CachedCheckpoint:
    """What the hub's cache has of a checkpoint of the catalog.

    Attributes:
        hub_id: owner and name.
        preset: name of its entry in the catalog.
        stored_bytes: bytes of the weights in the cache.
        file_bytes: bytes of the complete weights, without the file's header.
        problem: why it cannot be loaded; None: it is complete.
        hint: what to do about the problem.
    """

    hub_id: str
    preset: str
    stored_bytes: int
    file_bytes: int
    problem: str | None = None
    hint: str | None = None


def cache_folder() -> Path:
    """Return the folder of the hub's cache, whether or not it exists."""
    return Path(constants.HF_HUB_CACHE)


def find_cached() -> tuple[CachedCheckpoint, ...]:
    """List the checkpoints of the catalog that the hub's cache has, complete or not; only headers are read."""
    found = (_find_cached(card, hub_id) for card in MODEL_CARDS.values() for hub_id in card.hub_ids)
    return tuple(one for one in found if one is not None)


def _find_cached(card: ModelCard, hub_id: str) -> CachedCheckpoint | None:
    folder = cache_folder() / f"models--{hub_id.replace('/', '--')}"
    parts = [one.stat().st_size for one in folder.glob("blobs/*.incomplete")]
    weights, config = (try_to_load_from_cache(hub_id, file) for file in (_WEIGHTS, _CONFIG))
    if not (isinstance(weights, str) or isinstance(config, str) or parts):
        return None
    problem: str | None = None
    hint = f"run da3 download {hub_id}"
    if not isinstance(weights, str):
        stored, problem = sum(parts), "the download is not complete" if parts else "it has no weights"
    else:
        stored, problem = Path(weights).stat().st_size, weights_problem(Path(weights))
        if problem is not None:
            hint = f"delete {folder} and {hint}"
        elif not isinstance(config, str):
            problem = f"it has no {_CONFIG}"
    return CachedCheckpoint(hub_id, card.name, stored, card.file_bytes, problem, problem and hint)


def weights_problem(file: Path) -> str | None:
    """Check the header of a weights file, which states its length; return what is wrong, None if nothing is."""
    try:
        with safe_open(file, framework="numpy"):
            return None
    except (SafetensorError, OSError):
        return "truncated or damaged"


def is_cached(name: str, *, revision: str | None = None) -> bool:
    """Whether the hub's cache has a complete checkpoint of a hub id, or of the preferred one of a preset."""
    card = MODEL_CARDS.get(name)
    hub_id = card.hub_ids[0] if card and card.hub_ids else name
    if hub_id.count("/") != 1:
        return False
    files = (try_to_load_from_cache(hub_id, file, revision=revision) for file in (_CONFIG, _WEIGHTS))
    return all(isinstance(file, str) for file in files)


def check_disk(name: str, *, revision: str | None = None) -> None:
    """Check that the disk of the hub's cache has room for a checkpoint of the catalog that is not in it.

    Raises:
        ExportError: it has not; the message states both sizes.
    """
    card = next((one for one in MODEL_CARDS.values() if name == one.name or name in one.hub_ids), None)
    if card is None or card.is_demonstration or os.path.exists(name) or is_cached(name, revision=revision):
        return
    disk = disk_space(cache_folder())
    free = disk.free_bytes
    if free is not None and free < card.file_bytes:
        raise ExportError(
            f"{disk.folder}: {name} needs {card.file_bytes / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB are free; free "
            "space, or set HF_HOME to a folder on another disk"
        )
