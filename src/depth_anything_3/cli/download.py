"""Define `da3 download`, which fetches checkpoints to the hub's cache."""

from __future__ import annotations

from typing import Annotated

import typer

from depth_anything_3.cli.completion import complete_models
from depth_anything_3.cli.console import stderr, stdout

__all__ = ["download"]


def download(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Hub ids or presets, such as da3-base.", autocompletion=complete_models),
    ],
    revision: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Branch, tag or commit on the hub.", rich_help_panel="Model")
    ] = None,
) -> None:
    """Download checkpoints to the hub's cache, and print the folder of each. An interrupted download is resumed."""
    from depth_anything_3.model.catalog import MODEL_CARDS
    from depth_anything_3.model.checkpoint import find_checkpoint
    from depth_anything_3.model.hub_cache import check_disk, is_cached

    for name in models:
        check_disk(name, revision=revision)
    for name in models:
        state = "was in the cache" if is_cached(name, revision=revision) else "complete"
        checkpoint = find_checkpoint(name, revision=revision)
        state = "bundled with the package" if checkpoint.is_bundled else state
        stderr.print(f"{name}: {state}", markup=False)
        if MODEL_CARDS[checkpoint.preset].licence.startswith("CC-BY-NC"):
            stderr.print(
                f"{name}: licence {MODEL_CARDS[checkpoint.preset].licence}, for non-commercial use only", markup=False
            )
        stdout.print(str(checkpoint.weights.parent), markup=False)
