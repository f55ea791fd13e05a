"""Dense prediction trunk shared by the heads: fuses four levels of patch features.

After Ranftl et al., "Vision Transformers for Dense Prediction" (2021). The heads of the network derive from
:class:`DptTrunk` and add their output layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_anything_3.model.catalog import PATCH_SIZE
from depth_anything_3.model.tracing import is_recording
from depth_anything_3.model.uv_embedding import UvEmbedding

__all__ = [
    "DptTrunk",
    "FusionBlock",
    "Scratch",
    "fuse_levels",
    "in_chunks",
    "output_convs",
    "resize_map",
]

_MEMORY_DIVISOR = 8  # the maps of a head may use this fraction of a GPU's memory
_CPU_MEMORY = 2 << 30  # bytes
_MAX_ELEMENTS = 2**31 - 1  # of a tensor; kernels index larger ones slowly, or not at all


def resize_map(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize `(V, C, h, w)` bilinearly with aligned corners."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def output_convs(features: int, outputs: int) -> nn.Sequential:
    """Build the last layers of a head: 3x3 convolution to 32 channels, ReLU, 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(features // 2, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, outputs, kernel_size=1),
    )


class ResidualConvUnit(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, added to the input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(features, features, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(V, F, h, w)` to the same shape."""
        residual: Tensor = self.conv2(F.relu_(self.conv1(F.relu(x))))
        return x + residual


class FusionBlock(nn.Module):
    """Merges a level into the coarser path above it and resizes the result to the next level."""

    def __init__(self, features: int, *, lateral: bool = True) -> None:
        super().__init__()
        # The names are those of the published weights.
        self.resConfUnit1 = ResidualConvUnit(features) if lateral else None
        self.resConfUnit2 = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, kernel_size=1)

    def forward(self, top: Tensor, lateral: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Fuse `top` and `lateral` `(V, F, h, w)` and resize to `size`."""
        if self.resConfUnit1 is not None:
            top = top + self.resConfUnit1(lateral)
        # A 1x1 convolution and a resize whose weights sum to one commute; this order convolves fewer cells.
        return resize_map(self.out_conv(self.resConfUnit2(top)), size)


class Scratch(nn.Module):
    """The layers between the four levels and the outputs; one flat namespace, as in the published weights."""

    def __init__(self, channels: Sequence[int], features: int, outputs: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(width, features, kernel_size=3, padding=1, bias=False) for width in channels
        )
        self.refinenet1 = FusionBlock(features)
        self.refinenet2 = FusionBlock(features)
        self.refinenet3 = FusionBlock(features)
        self.refinenet4 = FusionBlock(features, lateral=False)
        self.output_conv1 = nn.Conv2d(features, features // 2, kernel_size=3, padding=1)
        self.output_conv2 = output_convs(features, outputs)

    def levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Project the four maps, finest first, to the same number of channels."""
        convs = (self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn)
        return [conv(level) for conv, level in zip(convs, maps, strict=True)]

    def fuse(self, levels: Sequence[Tensor]) -> Tensor:
        """Fuse four levels `(V, F, h, w)`, finest first, into a map of twice the finest size."""
        return fuse_levels(levels, (self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4))


def fuse_levels(levels: Sequence[Tensor], blocks: Sequence[FusionBlock]) -> Tensor:
    """Run four fusion blocks over four levels, both listed finest first, from the coarsest to the finest."""
    finest_rows, finest_cols = _size(levels[0])
    fused: Tensor = blocks[3](levels[3], None, _size(levels[2]))
    fused = blocks[2](fused, levels[2], _size(levels[1]))
    fused = blocks[1](fused, levels[1], _size(levels[0]))
    fused = blocks[0](fused, levels[0], (2 * finest_rows, 2 * finest_cols))
    return fused


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


class DptTrunk(nn.Module):
    """Base of the dense heads: turns features into four maps and fuses them.

    Args:
        width_in: Channels of the patch features.
        channels: Channels of the four maps, finest first.
        norm: Normalisation of the patch features.
        scratch: The layers from the maps to the outputs.
        uv: Whether image coordinates are added to the maps.
    """

    def __init__(
        self, width_in: int, channels: Sequence[int], *, norm: nn.Module, scratch: Scratch, uv: bool = True
    ) -> None:
        super().__init__()
        self.uv = UvEmbedding() if uv else None
        self.norm = norm
        self.projects = nn.ModuleList(nn.Conv2d(width_in, width, kernel_size=1) for width in channels)
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(channels[0], channels[0], kernel_size=4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], kernel_size=2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], kernel_size=3, stride=2, padding=1),
            )
        )
        self.scratch = scratch

    def levels(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> list[Tensor]:
        """Turn patch features into the four levels to fuse.

        Args:
            features: Four `(V, N, D)`, patches row by row.
            image_size: (height, width) of the input images in pixels.

        Returns:
            Four `(V, F, h, w)` with 4, 2, 1 and 1/2 cells per patch side.
        """
        rows, cols = (side // PATCH_SIZE for side in image_size)
        maps = []
        for feature, project, resize in zip(features, self.projects, self.resize_layers, strict=True):
            tokens = self.norm(feature.float())
            cells = project(tokens.unflatten(1, (rows, cols)).permute(0, 3, 1, 2))
            maps.append(resize(self.add_uv_(cells, image_size)))
        return self.scratch.levels(maps)

    def add_uv_(self, x: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Add image coordinates to a map `(V, C, h, w)` in place, if the head uses them."""
        return x if self.uv is None else self.uv.add_(x, image_size)

    def views_at_once(self, image_size: tuple[int, int], device: torch.device) -> int:
        """Return how many views fit into the head's share of the device's memory. It does not affect results."""
        features = self.scratch.output_conv1.in_channels
        pixels = image_size[0] * image_size[1]
        # The largest maps have the size of the image: a few with features / 2 channels, some with 32.
        bytes_per_view = 4 * pixels * (2 * features + 64)
        max_views = _MAX_ELEMENTS // (pixels * features // 2)
        return max(1, min(_memory_for_maps(device) // bytes_per_view, max_views))


def in_chunks(
    head: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], views_at_once: int
) -> tuple[Tensor, ...]:
    """Call `head` on a few views at a time and concatenate the results.

    Args:
        head: Takes tensors `(V, ...)` and returns tensors `(V, ...)`.
        inputs: Tensors `(B, S, ...)`; scenes and views are folded into one axis.
        views_at_once: The largest V.

    Returns:
        Tensors `(B, S, ...)`.
    """
    batch_and_views = inputs[0].shape[:2]
    if is_recording():  # a recorded number of chunks would limit the batch
        whole = head(*(x.flatten(0, 1) for x in inputs))
        return tuple(torch.unflatten(x, 0, batch_and_views) for x in whole)
    chunks = zip(*(torch.split(x.flatten(0, 1), views_at_once) for x in inputs), strict=True)
    parts = [head(*chunk) for chunk in chunks]
    joined = parts[0] if len(parts) == 1 else tuple(torch.cat(part) for part in zip(*parts, strict=True))
    return tuple(torch.unflatten(x, 0, batch_and_views) for x in joined)


def _memory_for_maps(device: torch.device) -> int:
    """Return the share of the total memory in bytes; free memory would split equal calls differently."""
    if device.type != "cuda":
        return _CPU_MEMORY
    return int(torch.cuda.get_device_properties(device).total_memory) // _MEMORY_DIVISOR
