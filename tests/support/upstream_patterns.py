"""Tables of call patterns of upstream's clients, and what the patterns use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from depth_anything_3 import DepthAnything3, Prediction
from support.seeded_values import seeded_images_uint8

SIZE = (56, 84)
SMALL = {"process_res": 84}


@dataclass(frozen=True)
class Scene:
    """A model, its checkpoint, two images, their prediction, and an empty folder."""

    model: DepthAnything3
    checkpoint: Path
    images: list[str]
    prediction: Prediction
    folder: Path


Check = Callable[[Any], None]  # a `Scene`, or what else the table's test makes


@dataclass(frozen=True)
class Pattern:
    """A row: a call, the programs that make it, and what checks its values."""

    call: str
    clients: str
    check: Check


class Patterns(list[Pattern]):
    """The rows of a table."""

    def row(self, call: str, clients: str) -> Callable[[Check], Check]:
        """Add a function as a row."""

        def add(check: Check) -> Check:
            self.append(Pattern(call, clients, check))
            return check

        return add


def compute_views(model: DepthAnything3, folder: Path) -> tuple[list[str], Prediction]:
    """Write two images, and compute them as views of one scene."""
    paths = []
    for number, pixels in enumerate(seeded_images_uint8(2, *SIZE, seed=1)):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths, model.inference(paths, **SMALL)
