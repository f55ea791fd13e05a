"""Show a prediction: as an image, as a plot and in a notebook."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.colormap import color_table, colorize_depth, inverse_depth_range
from depth_anything_3.export.format_options import DepthRange, inverse_range
from depth_anything_3.export.labels import depth_unit, source_names
from depth_anything_3.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot", "to_html", "to_image"]

_MAX_VIEWS = 8
_MAX_HTML_BYTES = 90_000  # of all thumbnails together
_SIDES_PX = (360, 224, 160, 112, 80, 56)  # tried until a thumbnail is small enough; the first for a single view
_MAX_LABEL = 80  # characters
_QUALITY = 80
_PLOT_WIDTH = 10.0  # inches


def to_image(prediction: Prediction, index: int | None, colormap: str, depth_range: DepthRange | None) -> Image.Image:
    """Colour the depth of a view; see `Prediction.to_image`."""
    view = _view(prediction, index)
    return Image.fromarray(colorize_depth(prediction.depth[view], inverse_range(depth_range), colormap))


def plot(prediction: Prediction, index: int | None, colormap: str, depth_range: DepthRange | None) -> Figure:
    """Draw image and depth; see `Prediction.plot`."""
    try:
        from matplotlib import pyplot
    except ImportError as missing:
        raise UnsupportedError(
            "plot() needs matplotlib: pip install matplotlib; or use to_image(), which needs nothing else"
        ) from missing
    views = range(min(len(prediction.depth), _MAX_VIEWS)) if index is None else [_view(prediction, index)]
    images, names = prediction.processed_images, _names(prediction)
    columns = 1 if images is None else 2
    height, width = prediction.depth.shape[1:]
    size = (_PLOT_WIDTH, 0.9 * _PLOT_WIDTH / columns * height / width * len(views) + 0.5)
    figure, axes = pyplot.subplots(len(views), columns, figsize=size, squeeze=False, layout="constrained")
    for row, view in zip(axes, views, strict=True):
        if images is not None:
            row[0].imshow(images[view])
            row[0].set_title(names[view], fontsize="medium", parse_math=False)
        chosen = inverse_range(depth_range) or inverse_depth_range(prediction.depth[view])
        row[-1].imshow(colorize_depth(prediction.depth[view], chosen, colormap))
        row[-1].set_title(f"depth ({depth_unit(prediction)})", fontsize="medium")
        if chosen is not None:
            _add_color_bar(figure, row[-1], chosen, colormap)
        for one in row:
            one.axis("off")
    return figure


def _add_color_bar(figure: Figure, axes: Any, chosen: tuple[float, float], colormap: str) -> None:  # Any: an Axes
    """Add a colour bar in depth; the colours are linear in inverse depth."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colors = ListedColormap(color_table(colormap)[::-1] / 255.0)

    def depth(inverse: float, _position: int | None = None) -> str:
        return f"{1.0 / inverse:.3g}" if inverse > 0 else "inf"

    figure.colorbar(ScalarMappable(Normalize(*chosen), colors), ax=axes, format=depth)


def to_html(prediction: Prediction) -> str:
    """Make thumbnails of the first eight views as HTML with inline images; see `Prediction._repr_html_`."""
    shown = min(len(prediction.depth), _MAX_VIEWS)
    images, names = prediction.processed_images, _names(prediction)
    sides = _SIDES_PX if shown == 1 else _SIDES_PX[1:]
    cells = []
    for view in range(shown):
        pixels = colorize_depth(prediction.depth[view])
        if images is not None:
            pixels = np.hstack([images[view], pixels])
        source = _data_uri(pixels, _MAX_HTML_BYTES // shown, [one * (1 if images is None else 2) for one in sides])
        label = f"<figcaption>{html.escape(names[view][-_MAX_LABEL:])}</figcaption>"
        cells.append(f'<figure style="display:inline-block;margin:4px"><img src="{source}">{label}</figure>')
    rest = len(prediction.depth) - shown
    more = f"<div>and {rest} more view(s)</div>" if rest else ""
    return f"<div>{''.join(cells)}{more}<pre>{html.escape(repr(prediction))}</pre></div>"


def _data_uri(pixels: npt.NDArray[np.uint8], budget: int, widths: Sequence[int]) -> str:
    """Encode a thumbnail as a data URI, of the first width that gives at most `budget` characters, or of the last."""
    encoded = ""
    for width in widths:
        thumbnail = Image.fromarray(pixels)
        thumbnail.thumbnail((width, width))
        content = io.BytesIO()
        thumbnail.save(content, "JPEG", quality=_QUALITY)
        encoded = base64.b64encode(content.getbuffer()).decode()
        if len(encoded) <= budget:
            break
    return f"data:image/jpeg;base64,{encoded}"


def _view(prediction: Prediction, index: int | None) -> int:
    """Check the number of a view."""
    count = len(prediction.depth)
    if index is None and count == 1:
        return 0
    if index is None or not -count <= index < count:
        raise InvalidInputError(f"index={index!r}: the prediction has {count} view(s); give 0 to {count - 1}")
    return index % count


def _names(prediction: Prediction) -> list[str]:
    """Name each view by its source, or its number."""
    if len(prediction.sources) == len(prediction.depth):
        return source_names(prediction.sources)
    return [f"view {view}" for view in range(len(prediction.depth))]
