"""Backbone of all networks.

A DINOv2 vision transformer (Oquab et al., 2023) whose later blocks alternate between attention within each view and
attention across all views of a scene (DA3, Lin et al., 2025).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from depth_anything_3.model.blocks import Block
from depth_anything_3.model.catalog import PATCH_SIZE, Preset
from depth_anything_3.model.choices import RefViewStrategy
from depth_anything_3.model.position_table import TABLE_SIDE, PositionTables
from depth_anything_3.model.precision import LowPrecisionMatrices, is_low_precision
from depth_anything_3.model.reference_view import (
    MIN_VIEWS,
    order_from_reference,
    order_to_original,
    select_reference_view,
    take_views,
)
from depth_anything_3.model.rope import RotaryTable, cross_view_table, in_view_positions, rotary_table
from depth_anything_3.model.table_cache import TableCache
from depth_anything_3.model.tracing import is_variable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Backbone", "BackboneOutput"]

_BLOCK_NORM_EPS = 1e-6  # the final norm and the query and key norms use 1e-5


class BackboneOutput(NamedTuple):
    """Output of the backbone; `N` is the number of patches of a view, `D` the preset's `feature_width`.

    Attributes:
        features: Four `(B, S, N, D)`. With two stages: half from within the view, half across views and normalised;
            with one stage: all normalised.
        camera_tokens: Four `(B, S, D)`, not normalised.
        exported: `(B, S, rows, cols, width)` per requested block, ascending. Views are in the caller's order; in
            upstream the reference view comes first from block `alt_start - 1` on.
        reference_view: `(B,)` the chosen reference view; None if none was chosen.
    """

    features: tuple[Tensor, ...]
    camera_tokens: tuple[Tensor, ...]
    exported: tuple[Tensor, ...]
    reference_view: Tensor | None


class PatchEmbed(nn.Module):
    """Projects each non-overlapping patch to one token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH_SIZE, stride=PATCH_SIZE)

    def forward(self, images: Tensor) -> Tensor:
        """Map `(V, 3, H, W)` to `(V, N, width)`, patches row by row."""
        patches: Tensor = self.proj(images.to(self.proj.weight.dtype))
        return patches.flatten(2).transpose(1, 2)


class Backbone(nn.Module):
    """The transformer shared by all outputs of the network.

    Attributes:
        matrices: converts its matrices to low precision and back. They are float32 again before the state is saved,
            loaded, copied, converted or trained.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        width = preset.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if preset.alt_start is not None:
            self.camera_token = nn.Parameter(torch.zeros(1, 2, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TABLE_SIDE**2, width))
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(
            Block(
                width,
                preset.heads,
                norm_eps=_BLOCK_NORM_EPS,
                qk_norm=self._in_second_stage(index),
                feed_forward=preset.feed_forward,
            )
            for index in range(preset.depth)
        )
        self.norm = nn.LayerNorm(width)
        self._position_tables = PositionTables()
        self._rotary_tables: TableCache[tuple[RotaryTable, RotaryTable]] = TableCache()
        self.matrices = LowPrecisionMatrices()

    def _in_second_stage(self, index: int) -> bool:
        return self.preset.alt_start is not None and index >= self.preset.alt_start

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
            camera_tokens: `(B, S, width)` encoded given poses. They replace the learned camera tokens and disable the
                reordering of views.
            export_layers: Blocks whose normalised output is also returned, ascending.
            strategy: How the reference view is chosen if one is needed.
        """
        if not torch.compiler.is_compiling():
            self.matrices.check(self, images, camera_tokens)
        dtype = self.patch_embed.proj.weight.dtype
        if not is_low_precision(dtype):
            return self._run(images, camera_tokens, export_layers, strategy)
        # Compiled code and replicas of DataParallel cannot restore float32: they compute in the matrices' dtype.
        with torch.autocast(images.device.type, dtype=dtype):
            return self._run(images, camera_tokens, export_layers, strategy)

    def _run(
        self, images: Tensor, camera_tokens: Tensor | None, export_layers: Sequence[int], strategy: RefViewStrategy
    ) -> BackboneOutput:
        preset = self.preset
        views, grid = images.shape[1], (images.shape[3] // PATCH_SIZE, images.shape[4] // PATCH_SIZE)
        in_view, cross_view = self._rotations(grid, images.device)
        x = self._embed(images)
        in_view_x = x
        reference: Tensor | None = None
        features, tokens, exported = [], [], []
        for index, block in enumerate(self.blocks):
            if index + 1 == preset.alt_start and _has_reference(views) and camera_tokens is None:
                reference = select_reference_view(x[:, :, 0], strategy)
                x = take_views(x, order_from_reference(reference, views))
            if index == preset.alt_start:
                x = self._insert_camera_tokens(x, camera_tokens)
            second_stage = self._in_second_stage(index)
            if second_stage and index % 2 == 1:
                x = block(x.flatten(1, 2), cross_view).view_as(x)
            else:
                x = block(x.flatten(0, 1), in_view if second_stage else None).view_as(x)
                in_view_x = x
            if index in preset.out_layers:
                feature, token = self._emit(in_view_x, x, reference)
                features.append(feature)
                tokens.append(token)
            if index in export_layers:
                exported.append(torch.unflatten(_in_callers_order(self.norm(x[:, :, 1:]), reference), 2, grid))
        return BackboneOutput(tuple(features), tuple(tokens), tuple(exported), reference)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; see `nn.Module.train`."""
        if mode:
            self.matrices.restore()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.matrices.before_apply(fn, self.cls_token)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return the weights in float32; see `nn.Module.state_dict`, whose types these are."""
        with self.matrices.in_float32():
            return super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        with self.matrices.in_float32():
            memo[id(self)] = twin = type(self).__new__(type(self))
            twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))  # type: ignore[no-untyped-call]
            return twin

    def _load_from_state_dict(self, *args: Any) -> None:  # Any: torch's own
        self.matrices.restore()
        super()._load_from_state_dict(*args)

    def __getstate__(self) -> dict[str, Any]:  # Any: torch's own; for pickles
        self.matrices.restore()
        return {name: value for name, value in self.__dict__.items() if name != "_compiled_call_impl"}

    def _embed(self, images: Tensor) -> Tensor:
        batch, views, _, height, width = images.shape
        table = self._position_tables(self.pos_embed, height // PATCH_SIZE, width // PATCH_SIZE)
        patches = self.patch_embed(images.flatten(0, 1)) + table[:, 1:]
        first = (self.cls_token + table[:, :1]).expand(batch * views, -1, -1)
        return torch.unflatten(torch.cat([first, patches], dim=1), 0, (batch, views))

    def _rotations(self, grid: tuple[int, int], device: torch.device) -> tuple[RotaryTable, RotaryTable]:
        """Return the rotary tables of a grid of patches: within a view, and across views."""
        head_dim = self.preset.width // self.preset.heads
        return self._rotary_tables.get(
            grid,
            device,
            lambda: (
                rotary_table(in_view_positions(*grid, device), head_dim),
                cross_view_table(*grid, head_dim, device),
            ),
        )

    def _insert_camera_tokens(self, x: Tensor, given: Tensor | None) -> Tensor:
        """Replace the class token of every view by a camera token."""
        batch, views = x.shape[:2]
        if given is None and is_variable(views):  # a recorded branch would fix the number of views
            is_first = torch.arange(views, device=x.device).view(1, -1, 1) == 0
            given = torch.where(is_first, self.camera_token[:, :1], self.camera_token[:, 1:]).expand(batch, -1, -1)
        elif given is None:
            given = self.camera_token[:, :1]
            if views > 1:  # ONNX cannot expand to no view
                given = torch.cat([given, self.camera_token[:, 1:].expand(-1, views - 1, -1)], dim=1)
            given = given.expand(batch, -1, -1)
        return torch.cat([given.unsqueeze(2).to(x.dtype), x[:, :, 1:]], dim=2)

    def _emit(self, in_view_x: Tensor, x: Tensor, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return one level of patch features and its camera tokens, views in the caller's order."""
        feature, token = self.norm(x[:, :, 1:]), x[:, :, 0]
        if self.preset.alt_start is not None:
            feature = torch.cat([in_view_x[:, :, 1:], feature], dim=-1)
            token = torch.cat([in_view_x[:, :, 0], token], dim=-1)
        return _in_callers_order(feature, reference), _in_callers_order(token, reference)


def _has_reference(views: int) -> bool:
    """Whether a reference view is chosen; for any number of views, `select_reference_view` decides in the graph."""
    return is_variable(views) or views >= MIN_VIEWS


def _in_callers_order(x: Tensor, reference: Tensor | None) -> Tensor:
    """Undo the reordering of the views of `x` `(B, S, ...)`, if any."""
    return x if reference is None else take_views(x, order_to_original(reference, x.shape[1]))
