"""Divide the images of a run into blocks, each of which one worker computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from depth_anything_3.inputs.limits import MAX_BYTES
from depth_anything_3.jobs.sources.address import is_address
from depth_anything_3.jobs.sources.find import SourceOptions, find_stored
from depth_anything_3.jobs.sources.store import read_object
from depth_anything_3.jobs.sources.stored_image import StoredImage

__all__ = ["Block", "ListedImage", "block_size", "make_blocks"]

_MAX_BLOCK = 128  # what is computed anew when a worker is lost
_MIN_BLOCK = 8
_BLOCKS_PER_WORKER = 4
_PARTS_PER_BLOCK = 1000  # numbers that are kept free for the parts of an archive


@dataclass(frozen=True)
class ListedImage:
    """An image that is not read yet; as `StoredImage`, which holds functions."""

    id: str
    label: str
    address: str


@dataclass(frozen=True)
class Block:
    """Images that one worker computes.

    Attributes:
        index: number of the block.
        images: the images; of an archive none, which its reader finds.
        archive: address of a tar or parquet file; empty: none.
    """

    index: int
    images: tuple[ListedImage, ...] = ()
    archive: str = ""

    @property
    def first_part(self) -> int:
        """Number of the first part that is written for the block: another block never has it."""
        return self.index * _PARTS_PER_BLOCK

    def read(self, options: SourceOptions) -> Iterator[StoredImage]:
        """Yield the images, read when they are asked for.

        Raises:
            DA3Error: see `find_stored`.
        """
        if self.archive:
            return find_stored([self.archive], options)
        return (_stored(one, options.max_bytes) for one in self.images)


def block_size(images: int, workers: int) -> int:
    """Choose the images of a block: at most 128, and few enough that all workers are busy to the end."""
    return max(_MIN_BLOCK, min(_MAX_BLOCK, images // (_BLOCKS_PER_WORKER * max(1, workers))))


def make_blocks(images: Sequence[ListedImage], archives: Sequence[str], size: int) -> list[Block]:
    """Divide images into blocks of at most `size`; each archive is a block."""
    parts = [tuple(images[start : start + size]) for start in range(0, len(images), size)]
    blocks = [Block(index, part) for index, part in enumerate(parts)]
    # First, since they may be the longest.
    return [Block(len(blocks) + index, archive=one) for index, one in enumerate(archives)] + blocks


def _stored(image: ListedImage, max_bytes: int = MAX_BYTES) -> StoredImage:
    address = image.address
    data = partial(read_object, address, max_bytes) if is_address(address) else Path(address)
    return StoredImage(image.id, image.label, data, address)
