"""Make a network compute as the authors' implementation does, without our optimisations."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from depth_anything_3.model import DepthAnything3Net
from depth_anything_3.model.dpt import DptTrunk, FusionBlock, resize_map
from depth_anything_3.model.dual_dpt import DualDptHead
from depth_anything_3.model.position_table import interpolate_position_table
from depth_anything_3.model.rope import RotaryTable, in_view_positions, rotary_table
from depth_anything_3.model.table_cache import TableCache

__all__ = ["as_the_reference", "run_channels_first"]

_REFERENCE_CHUNK = 8  # views that the authors' heads take at a time


class _NoCache(TableCache[Any]):
    def get(self, key: Hashable, device: torch.device, make: Callable[[], Any]) -> Any:
        return make()


def _twin(net: DepthAnything3Net) -> DepthAnything3Net:
    """Make another network that shares the weights' memory."""
    with torch.device("meta"):
        twin = DepthAnything3Net(net.preset)
    twin.load_state_dict(net.state_dict(), assign=True)
    return twin.eval().requires_grad_(False)


def as_the_reference(net: DepthAnything3Net, views: int) -> DepthAnything3Net:
    """Make a twin that computes what the authors' implementation computes, for a number of views.

    Tables are made anew in every call; attention across views rotates all tokens; the fusion blocks of the heads resize
    before their 1x1 convolution; rays are always evaluated; heads take eight views at a time, channels first for one.
    """
    twin = _twin(net)
    backbone: Any = twin.backbone["pretrained"]  # Any: some of its methods are replaced
    backbone._position_tables = interpolate_position_table

    def rotations(grid: tuple[int, int], device: torch.device) -> tuple[RotaryTable, RotaryTable]:
        head_dim = net.preset.width // net.preset.heads
        positions = in_view_positions(*grid, device)
        across = positions.clamp_max(1).repeat(views, 1)
        return rotary_table(positions, head_dim), rotary_table(across, head_dim)

    def fuse(block: FusionBlock, top: Tensor, lateral: Tensor | None, size: tuple[int, int]) -> Tensor:
        if block.resConfUnit1 is not None:
            top = top + block.resConfUnit1(lateral)
        fused: Tensor = block.out_conv(resize_map(block.resConfUnit2(top), size))
        return fused

    def head_options(head: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rays = {"with_rays": True} if isinstance(head, DualDptHead) else {}
        return args, {**kwargs, **rays, "views_at_once": _REFERENCE_CHUNK}

    backbone._rotations = rotations
    for module in twin.modules():
        if isinstance(module, FusionBlock):
            module.forward = MethodType(fuse, module)  # type: ignore[method-assign]
        if isinstance(module, DptTrunk) and module.uv is not None:
            module.uv._tables = _NoCache()
    twin.head.register_forward_pre_hook(head_options, with_kwargs=True)
    if views == 1:
        run_channels_first(twin.head)
    return twin


def run_channels_first(head: DptTrunk) -> DptTrunk:
    """Run a head channels first."""
    for project in head.projects:
        project.register_forward_pre_hook(lambda _module, args: (args[0].contiguous(),))
    return head
