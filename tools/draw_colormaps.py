"""Write the tables of the colour maps from matplotlib's, those of the server's page, and the preview in docs/images.

python tools/draw_colormaps.py
"""

from __future__ import annotations

import base64
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "src" / "depth_anything_3" / "export" / "colormap_tables.py"
PAGE = ROOT / "src" / "depth_anything_3" / "services" / "page" / "colormaps.js"
PREVIEW = ROOT / "docs" / "images" / "colormaps.jpg"

_NAMES = ("inferno", "magma", "plasma", "viridis", "turbo")
_WIDTH = 100  # characters of a line of a table
_SCENE = 2
_CELL = (135, 240)  # height and width of an image
_BAR, _LABEL, _GAP = 14, 18, 10
_QUALITY = 92

_HEAD = '''"""Hold the tables of colour maps that are not computed; written by tools/draw_colormaps.py.

inferno, magma, plasma and viridis are by Nathaniel J. Smith, Stefan van der Walt and (viridis) Eric Firing, released
under CC0. turbo is by Anton Mikhailov, Copyright 2019 Google LLC, SPDX-License-Identifier: Apache-2.0.
"""

from __future__ import annotations

__all__ = ["TABLES"]

TABLES = {
'''


def table(name: str) -> npt.NDArray[np.uint8]:
    """Colours of one of matplotlib's maps, (256, 3) uint8, rounded."""
    return np.rint(mpl.colormaps[name](np.arange(256))[:, :3] * 255.0).astype(np.uint8)


def write_tables() -> None:
    """Write each table as base64 of its 768 bytes."""
    parts = []
    for name in _NAMES:
        text = base64.b64encode(table(name).tobytes()).decode()
        lines = [f'        "{text[start : start + _WIDTH]}"\n' for start in range(0, len(text), _WIDTH)]
        parts.append(f'    "{name}": (\n{"".join(lines)}    ),\n')
    end = '}\n"""256 RGB colours of 8 bits by name of the map, in base64; the first is the farthest."""\n'
    TABLES.write_text(_HEAD + "".join(parts) + end, encoding="utf-8")


def write_page() -> None:
    """Write every map for the server's page."""
    # Now that the tables are written.
    from depth_anything_3.export.colormap import Colormap, color_table

    names = [name.value for name in Colormap]
    lines = ["// Colours of each map from near to far: 256 times RGB, in base64; written by tools/draw_colormaps.py.\n"]
    lines += ["\nexport const TABLES = {\n"]
    lines += [f"  {name}: '{base64.b64encode(color_table(name).tobytes()).decode()}',\n" for name in names]
    PAGE.write_text("".join([*lines, "};\n"]), encoding="utf-8")


def draw_preview() -> None:
    """Draw the true depth of a demo image in every map, with the map below it."""
    # Now that the tables are written.
    from depth_anything_3.export.colormap import Colormap, color_table, colorize_depth
    from depth_anything_3.jobs.demo import demo_images

    scene = demo_images()[_SCENE]
    depth = np.asarray(Image.fromarray(scene.depth_m).resize(_CELL[::-1], Image.Resampling.NEAREST))
    names = list(Colormap)
    columns, font = 4, ImageFont.load_default(13)
    height, width = _CELL[0] + _BAR + _LABEL + _GAP, _CELL[1] + _GAP
    rows = -(-(len(names) + 1) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, name in enumerate([None, *names]):
        left, top = _GAP + number % columns * width, _GAP + number // columns * height
        draw.text((left, top), "image" if name is None else f"{name.value}  (near | far)", fill="black", font=font)
        top += _LABEL
        if name is None:
            with Image.open(scene.path) as image:
                sheet.paste(image.convert("RGB").resize(_CELL[::-1], Image.Resampling.LANCZOS), (left, top))
            continue
        bar = np.broadcast_to(color_table(name), (_BAR, 256, 3))
        sheet.paste(Image.fromarray(colorize_depth(depth, colormap=name)), (left, top))
        sheet.paste(Image.fromarray(np.ascontiguousarray(bar)).resize((_CELL[1], _BAR)), (left, top + _CELL[0]))
    sheet.save(PREVIEW, quality=_QUALITY)


if __name__ == "__main__":
    write_tables()
    write_page()
    draw_preview()
