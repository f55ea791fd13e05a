"""Define `da3 models`, which lists the models and their licences."""

from __future__ import annotations

import json

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import stdout

__all__ = ["models"]


def models(as_json: o.Json = False) -> None:
    """List the models, what each predicts, and their licences."""
    from rich.table import Column, Table

    from depth_anything_3.model.catalog import MODEL_CARDS

    if as_json:
        stdout.print_json(json.dumps([card.as_dict() for card in MODEL_CARDS.values()]))
        return
    longest = max(len(name) for card in MODEL_CARDS.values() for name in card.hub_ids)
    table = Table(
        Column("--model-dir", no_wrap=True, min_width=longest),
        "depth",
        "also predicts",
        Column("licence", no_wrap=True, min_width=12),
        box=None,
    )
    for card in MODEL_CARDS.values():
        outputs = {"confidence": card.has_conf, "cameras": card.has_poses, "sky": card.has_sky}
        outputs["3D Gaussians"] = card.has_gaussians
        also = ", ".join(name for name, predicted in outputs.items() if predicted)
        table.add_row("\n".join(card.hub_ids or [card.name]), card.depth_kind.value, also, card.licence)
    stdout.print(table)
    presets = ", ".join(card.name for card in MODEL_CARDS.values() if card.hub_ids)
    stdout.print(f"A preset stands for the first hub id of its row: {presets}.", markup=False)
    for card in MODEL_CARDS.values():
        if card.is_demonstration:
            stdout.print(
                f"{card.name} is bundled with the package: a small demonstration, not for real use.", markup=False
            )
