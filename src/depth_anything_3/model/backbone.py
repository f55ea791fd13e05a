"""Backbone: normalised images of a scene's views in, four levels of patch features and camera tokens out.

A DINOv2 vision transformer (Oquab et al., 2023) whose later blocks alternate between attention inside each
view and attention across all views of a scene (DA3, Lin et al., 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from depth_anything_3.model.blocks import Block
from depth_anything_3.model.position_table import TABLE_SIDE, interpolate_position_table
from depth_anything_3.model.presets import PATCH_SIZE, Preset
from depth_anything_3.model.reference_view import (
    RefViewStrategy,
    order_from_reference,
    order_to_original,
    select_reference_view,
    take_views,
)
from depth_anything_3.model.rope import RotaryTable, cross_view_positions, in_view_positions, rotary_table

__all__ = ["Backbone", "BackboneOutput"]

_BLOCK_NORM_EPS = 1e-6  # the final norm and the query and key norms use 1e-5


class BackboneOutput(NamedTuple):
    """What the backbone hands on; `D` is twice the width, `N` the number of patches of a view.

    Attributes:
        features: Four `(B, S, N, D)`: half within the view, half across views and normalised.
        camera_tokens: Four `(B, S, D)`, never normalised.
        exported: `(B, S, rows, cols, width)` per requested block, ascending. These keep the order in which
            the backbone saw the views, reference view first, from block `alt_start - 1` on.
        reference_view: `(B,)` the chosen reference view; None where none was chosen.
    """

    features: tuple[Tensor, ...]
    camera_tokens: tuple[Tensor, ...]
    exported: tuple[Tensor, ...]
    reference_view: Tensor | None


class PatchEmbed(nn.Module):
    """Non-overlapping patches, each projected to one token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH_SIZE, stride=PATCH_SIZE)

    def forward(self, images: Tensor) -> Tensor:
        """`(V, 3, H, W)` to `(V, N, width)`, patches row by row."""
        if not torch.is_autocast_enabled(images.device.type):
            images = images.to(self.proj.weight.dtype)
        patches: Tensor = self.proj(images)
        return patches.flatten(2).transpose(1, 2)


class Backbone(nn.Module):
    """The transformer shared by all outputs of the network."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        width = preset.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.camera_token = nn.Parameter(torch.zeros(1, 2, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TABLE_SIDE**2, width))
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(
            Block(
                width,
                preset.heads,
                norm_eps=_BLOCK_NORM_EPS,
                qk_norm=index >= preset.qk_norm_start,
                feed_forward=preset.feed_forward,
            )
            for index in range(preset.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        images: Tensor,
        *,
        camera_tokens: Tensor | None = None,
        export_layers: Sequence[int] = (),
        strategy: RefViewStrategy = RefViewStrategy.SADDLE_BALANCED,
    ) -> BackboneOutput:
        """Run all blocks.

        Args:
            images: `(B, S, 3, H, W)` ImageNet-normalised RGB, sides multiples of 14.
            camera_tokens: `(B, S, width)` encoded given poses. They replace the learned camera tokens and
                disable the reordering of views.
            export_layers: Blocks whose normalised output is wanted as well, ascending.
            strategy: How the reference view is chosen where one is needed.
        """
        preset = self.preset
        views, grid = images.shape[1], (images.shape[3] // PATCH_SIZE, images.shape[4] // PATCH_SIZE)
        in_view, cross_view = self._rotary_tables(views, grid, images.device)
        x = self._embed(images)
        in_view_x = x
        reference: Tensor | None = None
        features, tokens, exported = [], [], []
        for index, block in enumerate(self.blocks):
            if index == preset.alt_start - 1 and views >= 3 and camera_tokens is None:
                reference = select_reference_view(x[:, :, 0], strategy)
                x = take_views(x, order_from_reference(reference, views))
            if index == preset.alt_start:
                x = self._insert_camera_tokens(x, camera_tokens)
            rotates = index >= preset.rope_start
            if index >= preset.alt_start and index % 2 == 1:
                x = block(x.flatten(1, 2), cross_view if rotates else None).view_as(x)
            else:
                x = block(x.flatten(0, 1), in_view if rotates else None).view_as(x)
                in_view_x = x
            if index in preset.out_layers:
                feature, token = self._emit(in_view_x, x, reference)
                features.append(feature)
                tokens.append(token)
            if index in export_layers:
                exported.append(torch.unflatten(self.norm(x[:, :, 1:]), 2, grid))
        return BackboneOutput(tuple(features), tuple(tokens), tuple(exported), reference)

    def _embed(self, images: Tensor) -> Tensor:
        batch, views, _, height, width = images.shape
        table = interpolate_position_table(self.pos_embed, height // PATCH_SIZE, width // PATCH_SIZE)
        patches = self.patch_embed(images.flatten(0, 1)) + table[:, 1:]
        first = (self.cls_token + table[:, :1]).expand(batch * views, -1, -1)
        return torch.unflatten(torch.cat([first, patches], dim=1), 0, (batch, views))

    def _rotary_tables(
        self, views: int, grid: tuple[int, int], device: torch.device
    ) -> tuple[RotaryTable, RotaryTable]:
        head_dim = self.preset.width // self.preset.heads
        in_view = rotary_table(in_view_positions(*grid, device), head_dim)
        one_view = rotary_table(cross_view_positions(*grid, device), head_dim)
        cross_view = RotaryTable(one_view.cos.repeat(views, 1), one_view.sin.repeat(views, 1))
        return in_view, cross_view

    def _insert_camera_tokens(self, x: Tensor, given: Tensor | None) -> Tensor:
        """Replace token 0 of every view; the class token ends here."""
        batch, views = x.shape[:2]
        if given is None:
            first, others = self.camera_token[:, :1], self.camera_token[:, 1:].expand(-1, views - 1, -1)
            given = torch.cat([first, others], dim=1).expand(batch, -1, -1)
        return torch.cat([given.unsqueeze(2).to(x.dtype), x[:, :, 1:]], dim=2)

    def _emit(self, in_view_x: Tensor, x: Tensor, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        """One level of patch features and its camera token, views in the caller's order."""
        feature = torch.cat([in_view_x[:, :, 1:], self.norm(x[:, :, 1:])], dim=-1)
        token = torch.cat([in_view_x[:, :, 0], x[:, :, 0]], dim=-1)
        if reference is None:
            return feature, token
        order = order_to_original(reference, x.shape[1])
        return take_views(feature, order), take_views(token, order)
