"""Kept for clients of upstream: `save_gaussian_ply`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.formats.gs_ply import gaussian_rows, select_gaussians
from depth_anything_3.export.ply_file import write_vertices
from depth_anything_3.model.gaussians import Gaussians

__all__ = ["save_gaussian_ply"]

_LAYOUT = {"shift_and_scale": False, "save_sh_dc_only": True, "inv_opacity": True, "match_3dgs_mcmc_dev": False}
"""Values of upstream's switches that are supported."""


def save_gaussian_ply(
    gaussians: Gaussians,
    save_path: str | os.PathLike[str],
    ctx_depth: Tensor,
    *,
    gs_views_interval: int,
    prune_by_depth_percent: float,
    prune_border_gs: bool,
    **layout: bool,
) -> None:
    """Write Gaussians of one scene in the layout of 3D Gaussian splatting, like `gs_ply`.

    Args:
        gaussians: one Gaussian for each pixel of `ctx_depth`.
        save_path: of the file.
        ctx_depth: (N, H, W, 1) depth of the views.
        gs_views_interval: keep the Gaussians of every n-th view.
        prune_by_depth_percent: quantile of a view's depth, 0 to 1, above which Gaussians are dropped.
        prune_border_gs: drop the Gaussians at the border of each view.
        layout: upstream's switches of the layout, all required, which have one supported value:
            `shift_and_scale=False`, `save_sh_dc_only=True`, `inv_opacity=True`, `match_3dgs_mcmc_dev=False`.

    Raises:
        InvalidInputError: a shape or number is not accepted.
        UnsupportedError: a switch has another value.
        ExportError: the file cannot be written.
    """
    _check_layout(layout)
    if not 0 <= prune_by_depth_percent <= 1:
        raise InvalidInputError(f"prune_by_depth_percent={prune_by_depth_percent!r}: give a quantile from 0 to 1")
    depth = np.asarray(ctx_depth.detach().cpu().float().numpy())
    if depth.ndim != 4 or depth.shape[-1] != 1 or depth.size != gaussians.means.shape[-2]:
        raise InvalidInputError(
            f"{gaussians.means.shape[-2]} Gaussians for ctx_depth of shape {depth.shape}; give (views, height, width, "
            "1) with one Gaussian for each pixel"
        )
    selected = select_gaussians(
        depth[..., 0], gs_views_interval, max_quantile=prune_by_depth_percent, has_border=prune_border_gs
    )
    write_vertices(Path(save_path), gaussian_rows(gaussians, selected))


def _check_layout(given: Mapping[str, bool]) -> None:
    supported = ", ".join(f"{name}={value}" for name, value in _LAYOUT.items())
    if given.keys() != _LAYOUT.keys():
        wrong = ", ".join(sorted(given.keys() ^ _LAYOUT.keys()))
        raise InvalidInputError(f"save_gaussian_ply: {wrong} missing or unknown; pass {supported}")
    for name, value in given.items():
        if bool(value) is not _LAYOUT[name]:
            raise UnsupportedError(f"save_gaussian_ply: {name}={value!r} is not supported; pass {supported}")
