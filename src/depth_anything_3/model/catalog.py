"""The models: a preset name in, its licence, where its weights are, and what it predicts out. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from depth_anything_3.runtime.choice import Option

__all__ = ["CANONICAL_FOCAL_PX", "MODEL_CARDS", "DepthKind", "ModelCard", "models_that"]

CANONICAL_FOCAL_PX = 300.0
"""The focal length, in pixels of the network's input, to which canonical depth belongs."""

_APACHE = "Apache-2.0"
_NON_COMMERCIAL = "CC-BY-NC-4.0"


class DepthKind(Option):
    """What a depth of 1 means."""

    RELATIVE = "relative"
    """A unit of its own for each scene; that of the given poses where they were given."""
    CANONICAL = "canonical"
    """Metres if the focal length were 300 pixels of the network's input: times focal length / 300, metres."""
    METRIC = "metric"
    """Metres."""


@dataclass(frozen=True)
class ModelCard:
    """What a user needs to know to choose a model.

    Attributes:
        name: The preset name, as in `config.json`.
        hub_ids: Its checkpoints on the Hugging Face hub, the one to prefer first; none if they come with the package.
        licence: SPDX identifier of the licence of the weights.
        depth_kind: What its depth means.
        has_conf: Whether it predicts confidence.
        has_poses: Whether it predicts cameras, and takes given ones.
        has_sky: Whether it tells the sky.
        has_gaussians: Whether it can predict 3D Gaussians.
        is_demonstration: Whether it shows the way and is not for real work; its weights come with the package.
    """

    name: str
    hub_ids: tuple[str, ...]
    licence: str
    depth_kind: DepthKind
    has_conf: bool = True
    has_poses: bool = True
    has_sky: bool = False
    has_gaussians: bool = False
    is_demonstration: bool = False


_CARDS = (
    ModelCard("da3-small", ("depth-anything/DA3-SMALL",), _APACHE, DepthKind.RELATIVE),
    ModelCard("da3-base", ("depth-anything/DA3-BASE",), _APACHE, DepthKind.RELATIVE),
    ModelCard(
        "da3-large",
        ("depth-anything/DA3-LARGE-1.1", "depth-anything/DA3-LARGE"),
        _NON_COMMERCIAL,
        DepthKind.RELATIVE,
    ),
    ModelCard(
        "da3-giant",
        ("depth-anything/DA3-GIANT-1.1", "depth-anything/DA3-GIANT"),
        _NON_COMMERCIAL,
        DepthKind.RELATIVE,
        has_gaussians=True,
    ),
    ModelCard(
        "da3mono-large",
        ("depth-anything/DA3MONO-LARGE",),
        _APACHE,
        DepthKind.RELATIVE,
        has_conf=False,
        has_poses=False,
        has_sky=True,
    ),
    ModelCard(
        "da3metric-large",
        ("depth-anything/DA3METRIC-LARGE",),
        _APACHE,
        DepthKind.CANONICAL,
        has_conf=False,
        has_poses=False,
        has_sky=True,
    ),
    ModelCard(
        "da3nested-giant-large",
        ("depth-anything/DA3NESTED-GIANT-LARGE-1.1", "depth-anything/DA3NESTED-GIANT-LARGE"),
        _NON_COMMERCIAL,
        DepthKind.METRIC,
        has_gaussians=True,
    ),
    ModelCard(
        "da3-nano",
        (),
        _APACHE,
        DepthKind.RELATIVE,
        has_conf=False,
        has_poses=False,
        has_sky=True,
        is_demonstration=True,
    ),
)

MODEL_CARDS: Mapping[str, ModelCard] = MappingProxyType({card.name: card for card in _CARDS})
"""Every model this package can build, by preset name."""


def models_that(can: Callable[[ModelCard], bool]) -> str:
    """Names of the models of which something is true, for a message: "da3-giant or da3nested-giant-large"."""
    *names, last = (card.name for card in MODEL_CARDS.values() if can(card))
    return f"{', '.join(names)} or {last}" if names else last
