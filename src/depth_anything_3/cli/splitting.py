"""Define the flags that split the images of a run: into shards, and over devices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from depth_anything_3.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from depth_anything_3.cli.options import ModelFlags
    from depth_anything_3.inference.engine import Engine
    from depth_anything_3.inputs.discover import FoundImage
    from depth_anything_3.jobs.shards import Shard

__all__ = ["SplitFlags", "engine_loader", "selected"]


@dataclass(frozen=True)
class SplitFlags:
    """Part of the images that a run computes, and the devices that share it."""

    panel: ClassVar[str] = "Performance"

    shard: Annotated[
        str,
        typer.Option(
            help="Compute one of n parts of the images: 0/4 to 3/4; slurm: the part of this task of a job array. The "
            "parts are disjoint and together complete; they may write to one output folder or store at the same time.",
            metavar="I/N|slurm",
        ),
    ] = ""
    devices: Annotated[
        str,
        typer.Option(
            help="Compute on several devices at once, a process on each: 0,1 for two GPUs, or names as of --device.",
            metavar="LIST",
        ),
    ] = ""

    def parse(self, *, scene: bool, auto_cleanup: bool) -> tuple[Shard | None, tuple[str, ...]]:
        """Return the shard and the names of the devices; None and none where they are not given.

        Raises:
            InvalidInputError: a value is not accepted, or does not work with --scene or --auto-cleanup.
        """
        if not self.shard and not self.devices:
            return None, ()
        from depth_anything_3.jobs.shards import parse_shard

        if scene:
            raise InvalidInputError(
                f"{'--shard' if self.shard else '--devices'} does not work with --scene: the views of a scene attend "
                "to each other; omit one of them"
            )
        if self.shard and auto_cleanup:
            raise InvalidInputError(
                "--auto-cleanup does not work with --shard: it would remove the results of other shards; choose an "
                "empty folder"
            )
        shard = parse_shard(self.shard) if self.shard else None
        if not self.devices:
            return shard, ()
        from depth_anything_3.jobs.devices import parse_devices

        return shard, parse_devices(self.devices)


def selected(images: Sequence[FoundImage], shard: Shard | None) -> Sequence[FoundImage]:
    """Return the images of the shard."""
    return images if shard is None else shard.select(images)


def engine_loader(flags: ModelFlags) -> partial[Engine]:
    """Return what loads the network on a device, in a process of that device."""
    return partial(_load, flags)


def _load(flags: ModelFlags, device: str) -> Engine:
    from depth_anything_3.cli.console import open_model

    return open_model(replace(flags, device=device)).engine
