"""Keep the batch sizes that were measured on this CPU in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import platformdirs
import torch

from depth_anything_3.errors import ExportError
from depth_anything_3.inputs.routing.cost_store import processor_name
from depth_anything_3.runtime.atomic_file import atomic_write
from depth_anything_3.runtime.version import __version__

__all__ = ["BatchStore"]

logger = logging.getLogger(__name__)

Size = tuple[int, int]

_MAX_FILE_BYTES = 2**20
_MAX_BATCH = 64


class BatchStore:
    """Batch sizes of one model on this machine, by (height, width).

    They are stored so that the clock decides once, and not anew in each run: results differ in the last bits between
    batch sizes. The file's name depends on the processor, the number of threads, the versions, the model, its dtype
    and backend.

    Args:
        model: name of the model.
        dtype: dtype of the backbone's computation.
        folder: where files are; by default the user's cache folder.
        backend: what computes the network.
    """

    def __init__(self, model: str, dtype: torch.dtype, folder: Path | None = None, backend: str = "torch") -> None:
        facts = [processor_name(), torch.get_num_threads(), torch.__version__, __version__, model, str(dtype)]
        facts += [] if backend == "torch" else [backend]
        name = f"batches-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}.json"
        self._path = (folder or _cache_folder()) / name
        self._sizes = self._read()

    def get(self, size: Size) -> int | None:
        """Return the batch size for results of (height, width), or None if it was not measured."""
        return self._sizes.get(_key(size))

    def put(self, size: Size, batch_size: int) -> None:
        """Store a batch size; where the folder is not writable, it is forgotten at the end of the run."""
        self._sizes = {**self._read(), _key(size): batch_size}  # another process may have added some
        try:
            with atomic_write(self._path) as temporary:
                temporary.write_text(json.dumps(self._sizes, sort_keys=True), encoding="utf-8")
        except ExportError as error:
            logger.debug("%s, so the batch size is measured again in the next run", error)

    def _read(self) -> dict[str, int]:
        """Read the file; a missing or damaged one counts as empty."""
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_MAX_FILE_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {key: value for key, value in found.items() if type(value) is int and 1 <= value <= _MAX_BATCH}


def _key(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _cache_folder() -> Path:
    return platformdirs.user_cache_path("depth-anything-3-fast", appauthor=False)
