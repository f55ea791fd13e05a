"""The network sizes, published ones and ours: a preset name in, every number that shapes the network out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from depth_anything_3.errors import InvalidInputError

__all__ = ["PATCH_SIZE", "PRESETS", "FeedForward", "Preset", "find_preset"]

PATCH_SIZE = 14
"""Side of a patch in pixels; image heights and widths are multiples of it."""


class FeedForward(Enum):
    """Kind of the feed-forward half of a transformer block."""

    MLP = "mlp"
    SWIGLU = "swiglu"


@dataclass(frozen=True)
class Preset:
    """Everything that distinguishes one network of the family from another.

    Attributes:
        name: The published preset name, as in `config.json`.
        width: Channels of a backbone token.
        depth: Number of transformer blocks.
        heads: Attention heads, of 64 channels each.
        out_layers: The four blocks (from 0) whose outputs feed the dense heads.
        alt_start: First block of the second stage, where odd blocks attend across all views of a scene, and all
            normalise queries and keys and rotate them by their position. None: there is no such stage, so views
            do not see each other; such a network predicts depth and sky, and no cameras.
        head_features: Channels inside the dense heads' fusion path.
        head_channels: Channels of the four levels before fusion.
        feed_forward: Kind of feed-forward layer in the backbone.
        gaussian_head: Whether the network also has a head for 3D Gaussians.
    """

    name: str
    width: int
    depth: int
    heads: int
    out_layers: tuple[int, int, int, int]
    alt_start: int | None
    head_features: int
    head_channels: tuple[int, int, int, int]
    feed_forward: FeedForward = FeedForward.MLP
    gaussian_head: bool = False

    @property
    def feature_width(self) -> int:
        """Channels of a feature handed to the heads: with two stages one half within the view, one across views."""
        return self.width if self.alt_start is None else 2 * self.width


_ANY_VIEW = (
    Preset(
        name="da3-small",
        width=384,
        depth=12,
        heads=6,
        out_layers=(5, 7, 9, 11),
        alt_start=4,
        head_features=64,
        head_channels=(48, 96, 192, 384),
    ),
    Preset(
        name="da3-base",
        width=768,
        depth=12,
        heads=12,
        out_layers=(5, 7, 9, 11),
        alt_start=4,
        head_features=128,
        head_channels=(96, 192, 384, 768),
    ),
    Preset(
        name="da3-large",
        width=1024,
        depth=24,
        heads=16,
        out_layers=(11, 15, 19, 23),
        alt_start=8,
        head_features=256,
        head_channels=(256, 512, 1024, 1024),
    ),
    Preset(
        name="da3-giant",
        width=1536,
        depth=40,
        heads=24,
        out_layers=(19, 27, 33, 39),
        alt_start=13,
        head_features=256,
        head_channels=(256, 512, 1024, 1024),
        feed_forward=FeedForward.SWIGLU,
        gaussian_head=True,
    ),
)

_SINGLE_VIEW = tuple(
    Preset(
        name=name,
        width=1024,
        depth=24,
        heads=16,
        out_layers=(4, 11, 17, 23),
        alt_start=None,
        head_features=256,
        head_channels=(256, 512, 1024, 1024),
    )
    for name in ("da3mono-large", "da3metric-large")
)

# Ours, not one of the published family: small enough to come with the package.
_DEMONSTRATION = Preset(
    name="da3-nano",
    width=192,
    depth=8,
    heads=3,
    out_layers=(1, 3, 5, 7),
    alt_start=None,
    head_features=32,
    head_channels=(24, 48, 96, 192),
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.name: preset for preset in (*_ANY_VIEW, *_SINGLE_VIEW, _DEMONSTRATION)}
)
"""The single networks this package can build, by name; a nested model joins two of them."""


def find_preset(name: str) -> Preset:
    """Look a preset up by name.

    Raises:
        InvalidInputError: No preset has this name.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise InvalidInputError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}") from None
