"""Define `da3 cache`, which lists and clears what the package keeps on disk."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import stdout
from depth_anything_3.errors import InvalidInputError

__all__ = ["cache"]


def cache(
    name: Annotated[
        str | None, typer.Argument(help="Entry to remove, with --clear. Default: all.", metavar="NAME")
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove the entry NAME, or all.", rich_help_panel="Output")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """List what this package keeps on disk: converted models, calibration, batch sizes, compiled kernels.

    With --clear it is removed, and made again when it is needed. Downloaded checkpoints are not listed: they are in the
    hub's cache, see hf cache.
    """
    from depth_anything_3.inputs.routing.cost_store import cache_path
    from depth_anything_3.jobs.cache import cache_entries, clear_cache

    if name is not None and not clear:
        raise InvalidInputError(f"{name}: to remove this entry, add --clear; to list all, omit it")
    entries = clear_cache(name) if clear else cache_entries()
    if as_json:
        stdout.print_json(json.dumps([one.as_dict() for one in entries]))
        return
    width = max((len(one.name) for one in entries), default=0)
    for one in entries:
        used = f"{one.last_used.astimezone():%Y-%m-%d %H:%M}"
        stdout.print(f"{one.name:<{width}}  {_size(one.size):>9}  {one.kind}, used {used}", markup=False)
    total = _size(sum(one.size for one in entries))
    count = f"{len(entries)} entr{'y' if len(entries) == 1 else 'ies'}"
    stdout.print(f"{'removed' if clear else 'total'}: {total}, {count}", markup=False)
    stdout.print(f"folder: {cache_path()}", markup=False)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
