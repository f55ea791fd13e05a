"""Split the images of a run into disjoint shards by a hash of each image's id."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.discover import FoundImage
from depth_anything_3.inputs.earlier_results import SHARDS

__all__ = ["SLURM", "Shard", "image_id", "parse_shard", "report_name", "report_path"]

SLURM = "slurm"
"""The shard of the current task of a SLURM job array."""

_FORM = re.compile(r"(\d+)/(\d+)")
_FILE = re.compile(r"manifest-(\d+)-of-(\d+)\.json")
_HASH_BYTES = 8
_TASK, _COUNT, _MIN, _STEP = (f"SLURM_ARRAY_TASK_{one}" for one in ("ID", "COUNT", "MIN", "STEP"))


@dataclass(frozen=True)
class Shard:
    """One of `count` disjoint parts of the images of a run, which together are all images.

    An image belongs to the shard that its id alone decides: not the other images, their order or the machine.

    Attributes:
        index: from 0.
        count: number of shards.

    Raises:
        InvalidInputError: the index is not below the count.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InvalidInputError(f"shard={self}: the first number is from 0 to the second minus 1, as in 0/4 to 3/4")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """For names of files: `3-of-7`."""
        return f"{self.index}-of-{self.count}"

    def contains(self, image: str) -> bool:
        """Whether the image with this id belongs to the shard."""
        # Names of files on Linux may hold bytes that are not UTF-8.
        digest = hashlib.blake2b(image.encode("utf-8", "surrogateescape"), digest_size=_HASH_BYTES).digest()
        return int.from_bytes(digest, "big") % self.count == self.index

    def select(self, images: Sequence[FoundImage]) -> list[FoundImage]:
        """Return the images of the shard, in their order."""
        return [one for one in images if self.contains(image_id(one))]

    def split(self, count: int) -> list[Shard]:
        """Return the shards that together have the images of this one."""
        return [Shard(self.index + self.count * part, self.count * count) for part in range(count)]

    @classmethod
    def recorded_in(cls, folder: Path) -> list[Shard]:
        """Return the shards that have a manifest in an export folder."""
        try:
            names = sorted(os.listdir(folder / SHARDS))
        except OSError:
            return []
        return [cls(int(found[1]), int(found[2])) for found in map(_FILE.fullmatch, names) if found]


def image_id(image: FoundImage) -> str:
    """Return the path of an image relative to the folder that it was given in, with slashes."""
    try:
        relative = image.path.relative_to(image.folder)
    except ValueError:
        return image.path.name
    return image.path.name if ".." in relative.parts else relative.as_posix()


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Parse `i/n`, or `slurm`: the task of a job array.

    Args:
        text: the shard.
        environment: where SLURM describes the array: ID, COUNT, MIN and STEP of SLURM_ARRAY_TASK.

    Raises:
        InvalidInputError: the text or the array is not accepted, or the process is no task of an array.
    """
    if text.lower() == SLURM:
        return _slurm_shard(environment)
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise InvalidInputError(
            f"shard={text!r} is not accepted; give 'i/n' with i from 0, such as '0/4', or '{SLURM}'"
        )
    return Shard(int(found[1]), int(found[2]))


def report_name(shard: Shard | None = None) -> str:
    """Return the name of the report in an export folder or prefix, with '/'; each shard has its own."""
    return "report.json" if shard is None else f"{SHARDS}/report-{shard.name}.json"


def report_path(folder: Path, shard: Shard | None = None) -> Path:
    """Return the file of the report in an export folder."""
    return folder / report_name(shard)


def _slurm_shard(environment: Mapping[str, str]) -> Shard:
    given = {one: environment[one] for one in (_TASK, _COUNT, _MIN, _STEP) if environment.get(one)}
    missing = [one for one in (_TASK, _COUNT) if one not in given]
    if missing:
        raise InvalidInputError(
            f"shard='{SLURM}': {' and '.join(missing)} is not set, so this is no task of a SLURM job array; submit it "
            "with sbatch --array=0-6, or give the shard as 'i/n'"
        )
    try:
        task, count, first, step = (
            int(given.get(one, default)) for one, default in ((_TASK, ""), (_COUNT, ""), (_MIN, "0"), (_STEP, "1"))
        )
    except ValueError:
        listed = ", ".join(f"{name}={value}" for name, value in given.items())
        raise InvalidInputError(f"shard='{SLURM}': {listed}, which must be integers") from None
    index, rest = divmod(task - first, max(step, 1))
    if rest or not 0 <= index < count:
        raise InvalidInputError(
            f"shard='{SLURM}': task {task} of {count}, the first of which is {first}, has no index of its own; number "
            f"the tasks without gaps, as in --array=0-{count - 1}, or give the shard as 'i/n'"
        )
    return Shard(index, count)
