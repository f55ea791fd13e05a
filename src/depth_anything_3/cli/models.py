"""Define `da3 models`, which lists the models and their licences."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import stdout

if TYPE_CHECKING:
    from depth_anything_3.model.catalog import ModelCard

__all__ = ["models"]


def models(as_json: o.Json = False) -> None:
    """List the models: size, memory, licence, what each is for, and which are in the hub's cache."""
    from rich.table import Column, Table

    from depth_anything_3.model.catalog import MODEL_CARDS
    from depth_anything_3.model.hub_cache import is_cached

    def cached(card: ModelCard) -> list[str]:
        return [one for one in card.hub_ids if is_cached(one)]

    if as_json:
        stdout.print_json(json.dumps([{**card.as_dict(), "cached": cached(card)} for card in MODEL_CARDS.values()]))
        return
    table = Table(
        Column("--model-dir", no_wrap=True),
        Column("download", no_wrap=True, justify="right"),
        Column("memory", no_wrap=True, justify="right"),
        Column("licence", no_wrap=True),
        Column("depth", no_wrap=True),
        "take it for",
        box=None,
    )
    for card in MODEL_CARDS.values():
        table.add_row(
            card.name,
            "none" if card.is_demonstration else _megabytes(card.file_bytes / 1e6),
            _megabytes(card.memory_mb),
            card.licence,
            card.depth_kind.value,
            card.advice,
        )
    stdout.print(table, markup=False, soft_wrap=False)
    stdout.print("Memory is computed: weights and one 504x336 image, with the backbone in bfloat16.", markup=False)
    stdout.print("A preset stands for the first of its hub ids; what each predicts beside depth:", markup=False)
    for card in MODEL_CARDS.values():
        if card.hub_ids:
            outputs = {"confidence": card.has_conf, "cameras": card.has_poses, "sky": card.has_sky}
            outputs["3D Gaussians"] = card.has_gaussians
            also = ", ".join(name for name, predicted in outputs.items() if predicted)
            stdout.print(f"  {card.name}: {also}", markup=False)
            for one in card.hub_ids:
                mark = " (in the hub's cache)" if is_cached(one) else ""
                stdout.print(f"    {one}{mark}", markup=False)
    for card in MODEL_CARDS.values():
        if card.is_demonstration:
            stdout.print(
                f"{card.name} is bundled with the package: a small demonstration, not for real use.", markup=False
            )


def _megabytes(megabytes: float) -> str:
    return f"{megabytes / 1e3:.1f} GB" if megabytes >= 1e3 else f"{megabytes:.0f} MB"
