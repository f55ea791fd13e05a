"""Catalog of the models: network architecture, licence, weights and outputs of each.

To add a model, add a row to `_CARDS`. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.runtime.option_values import StringEnum

__all__ = [
    "CANONICAL_FOCAL_PX",
    "MODEL_CARDS",
    "PATCH_SIZE",
    "DepthKind",
    "FeedForward",
    "ModelCard",
    "NestedPreset",
    "Preset",
    "find_card",
    "find_preset",
    "models_that",
]

CANONICAL_FOCAL_PX = 300.0
"""Focal length that canonical depth refers to, in pixels of the network's input."""

PATCH_SIZE = 14
"""Side of a patch in pixels; image heights and widths are multiples of it."""

_APACHE = "Apache-2.0"
_NON_COMMERCIAL = "CC-BY-NC-4.0"


class DepthKind(StringEnum):
    """Unit of depth."""

    RELATIVE = "relative"
    """An arbitrary unit for each scene, or the unit of the given poses."""
    CANONICAL = "canonical"
    """Metric for a focal length of 300 pixels of the network's input; metric depth is depth * focal length / 300."""
    METRIC = "metric"
    """Metres."""


class FeedForward(Enum):
    """Kind of feed-forward layer in a transformer block."""

    MLP = "mlp"
    SWIGLU = "swiglu"


@dataclass(frozen=True)
class Preset:
    """Architecture of one network.

    Attributes:
        name: The preset name, as in `config.json`.
        width: Channels of a backbone token.
        depth: Number of transformer blocks.
        heads: Attention heads, of 64 channels each.
        out_layers: The four blocks (from 0) whose outputs feed the dense heads.
        alt_start: First block of the second stage, where odd blocks attend across all views of a scene, and all blocks
            normalise and rotate queries and keys. None: there is no second stage, views do not attend to each other,
            and the network predicts depth and sky, but no cameras.
        head_features: Channels inside the dense heads' fusion path.
        head_channels: Channels of the four levels before fusion.
        feed_forward: Kind of feed-forward layer in the backbone.
        gaussian_head: Whether the network has a head for 3D Gaussians.
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
        """Channels of the heads' input: with two stages, half from within the view and half across views."""
        return self.width if self.alt_start is None else 2 * self.width


@dataclass(frozen=True)
class NestedPreset:
    """A network that combines two others of the catalog.

    Attributes:
        name: The preset name, as in `config.json`.
        any_view: Name of the network that predicts depth and cameras.
        metric: Name of the network whose canonical depth and sky determine the metric scale.
    """

    name: str
    any_view: str
    metric: str


@dataclass(frozen=True)
class ModelCard:
    """Catalog entry of a model.

    Attributes:
        network: Architecture of the network, or names of the two networks that it combines.
        licence: SPDX identifier of the licence of the weights.
        depth_kind: Unit of its depth.
        hub_ids: Its checkpoints on the Hugging Face hub, the preferred one first; empty if the weights are bundled with
            the package.
        parameters: number of values in its file.
        memory_mb: computed memory for one 504x336 image, backbone in bfloat16, in 1e6 bytes; see docs/models.md.
        advice: when to take it.
        best_process_res: length of the longer side, in pixels, that it was trained for; None: 504.
    """

    network: Preset | NestedPreset
    licence: str
    depth_kind: DepthKind
    hub_ids: tuple[str, ...] = ()
    parameters: int = 0
    memory_mb: int = 0
    advice: str = ""
    best_process_res: int | None = None

    @property
    def name(self) -> str:
        """The preset name, as in `config.json`."""
        return self.network.name

    @property
    def file_bytes(self) -> int:
        """Bytes of its weights: four for each parameter, two in the bundled file."""
        return self.parameters * (2 if self.is_demonstration else 4)

    @property
    def has_poses(self) -> bool:
        """Whether it predicts cameras, and accepts given ones."""
        return self._main_network.alt_start is not None

    @property
    def has_conf(self) -> bool:
        """Whether it predicts confidence."""
        return self.has_poses  # the any-view networks predict both

    @property
    def has_sky(self) -> bool:
        """Whether it predicts a sky mask."""
        return not self.has_poses

    @property
    def has_gaussians(self) -> bool:
        """Whether it can predict 3D Gaussians."""
        return self._main_network.gaussian_head

    @property
    def is_demonstration(self) -> bool:
        """Whether it is the bundled demonstration model, which is not meant for real use."""
        return not self.hub_ids

    @property
    def _main_network(self) -> Preset:
        return self.network if isinstance(self.network, Preset) else find_preset(self.network.any_view)

    def as_dict(self) -> dict[str, object]:
        """Return the entry as plain values, for JSON."""
        return {
            "name": self.name,
            "hub_ids": list(self.hub_ids),
            "licence": self.licence,
            "depth_kind": self.depth_kind.value,
            "has_conf": self.has_conf,
            "has_poses": self.has_poses,
            "has_sky": self.has_sky,
            "has_gaussians": self.has_gaussians,
            "is_demonstration": self.is_demonstration,
            "parameters": self.parameters,
            "file_bytes": self.file_bytes,
            "memory_mb": self.memory_mb,
            "advice": self.advice,
            "best_process_res": self.best_process_res,
        }


_CARDS = (
    ModelCard(
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
        licence=_APACHE,
        depth_kind=DepthKind.RELATIVE,
        hub_ids=("depth-anything/DA3-SMALL",),
        parameters=34_299_463,
        memory_mb=176,
        advice="the fastest; previews, video on a CPU",
    ),
    ModelCard(
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
        licence=_APACHE,
        depth_kind=DepthKind.RELATIVE,
        hub_ids=("depth-anything/DA3-BASE",),
        parameters=135_366_599,
        memory_mb=491,
        advice="a good start; any use, commercial too",
    ),
    ModelCard(
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
        licence=_NON_COMMERCIAL,
        depth_kind=DepthKind.RELATIVE,
        hub_ids=("depth-anything/DA3-LARGE-1.1", "depth-anything/DA3-LARGE"),
        parameters=410_941_767,
        memory_mb=1_220,
        advice="views and cameras, non-commercial",
    ),
    ModelCard(
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
        licence=_NON_COMMERCIAL,
        depth_kind=DepthKind.RELATIVE,
        hub_ids=("depth-anything/DA3-GIANT-1.1", "depth-anything/DA3-GIANT"),
        parameters=1_355_674_125,
        memory_mb=3_352,
        advice="3D Gaussians, non-commercial; a GPU",
    ),
    ModelCard(
        Preset(
            name="da3mono-large",
            width=1024,
            depth=24,
            heads=16,
            out_layers=(4, 11, 17, 23),
            alt_start=None,
            head_features=256,
            head_channels=(256, 512, 1024, 1024),
        ),
        licence=_APACHE,
        depth_kind=DepthKind.RELATIVE,
        hub_ids=("depth-anything/DA3MONO-LARGE",),
        parameters=334_171_394,
        memory_mb=951,
        advice="single photos with sky; any use",
    ),
    ModelCard(
        Preset(
            name="da3metric-large",
            width=1024,
            depth=24,
            heads=16,
            out_layers=(4, 11, 17, 23),
            alt_start=None,
            head_features=256,
            head_channels=(256, 512, 1024, 1024),
        ),
        licence=_APACHE,
        depth_kind=DepthKind.CANONICAL,
        hub_ids=("depth-anything/DA3METRIC-LARGE",),
        parameters=334_171_394,
        memory_mb=951,
        advice="metres from a known focal length",
    ),
    ModelCard(
        NestedPreset(name="da3nested-giant-large", any_view="da3-giant", metric="da3metric-large"),
        licence=_NON_COMMERCIAL,
        depth_kind=DepthKind.METRIC,
        hub_ids=("depth-anything/DA3NESTED-GIANT-LARGE-1.1", "depth-anything/DA3NESTED-GIANT-LARGE"),
        parameters=1_689_845_519,
        memory_mb=4_113,
        advice="metres without a focal length; a GPU",
    ),
    # Not one of the published models: small enough to bundle with the package.
    ModelCard(
        Preset(
            name="da3-nano",
            width=192,
            depth=8,
            heads=3,
            out_layers=(1, 3, 5, 7),
            alt_start=None,
            head_features=32,
            head_channels=(24, 48, 96, 192),
        ),
        licence=_APACHE,
        depth_kind=DepthKind.RELATIVE,
        parameters=4_609_986,
        memory_mb=79,
        advice="a try without a download",
        best_process_res=224,
    ),
)
_BY_NAME = {card.name: card for card in _CARDS}

MODEL_CARDS: Mapping[str, ModelCard] = MappingProxyType(_BY_NAME)
"""All supported models by preset name."""


def find_card(name: str) -> ModelCard:
    """Look up a model by its preset name.

    Raises:
        InvalidInputError: No model has this name.
    """
    if name not in MODEL_CARDS:
        raise InvalidInputError(f"unknown preset {name!r}; choose one of {', '.join(MODEL_CARDS)}")
    return MODEL_CARDS[name]


def find_preset(name: str) -> Preset:
    """Look up the architecture of a single network by its preset name.

    Raises:
        InvalidInputError: No single network has this name.
    """
    single = {card.name: card.network for card in MODEL_CARDS.values() if isinstance(card.network, Preset)}
    if name not in single:
        raise InvalidInputError(f"unknown preset {name!r}; choose one of {', '.join(single)}")
    return single[name]


def models_that(can: Callable[[ModelCard], bool]) -> str:
    """List the models that satisfy a condition, for a message: "da3-giant or da3nested-giant-large"."""
    *names, last = (card.name for card in MODEL_CARDS.values() if can(card))
    return f"{', '.join(names)} or {last}" if names else last
