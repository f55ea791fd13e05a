"""Select the stored images of a run by their ids, before their bytes are read."""

from __future__ import annotations

from dataclasses import dataclass

from depth_anything_3.jobs.shards import Shard

__all__ = ["Selection"]


@dataclass
class Selection:
    """Tells which images belong to a run, and counts all.

    Attributes:
        shard: the part of the images that the run computes; None: all.
        total: images that have been asked for, those of other shards included.
    """

    shard: Shard | None = None
    total: int = 0

    def __call__(self, id: str) -> bool:
        """Count an image; whether it belongs to the run. Ask once for each image."""
        self.total += 1
        return self.shard is None or self.shard.contains(id)
