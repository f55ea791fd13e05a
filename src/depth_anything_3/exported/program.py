"""Record a network as a program of torch.export, from which all formats are written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram, export

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.graph import ExportedNetwork
from depth_anything_3.exported.specification import Dynamic, ExportSpecification, GraphInput
from depth_anything_3.model.catalog import PATCH_SIZE

__all__ = ["export_program", "quiet"]

_MIN_TORCH = (2, 9)  # where torch.onnx records by torch.export by default; tested with 2.15 alone
_MAX_SIDE = 1024  # patches
_TRACED_BATCH, _TRACED_VIEWS = 2, 3  # torch.export would fix sizes of 1


def export_program(module: ExportedNetwork, specification: ExportSpecification) -> ExportedProgram:
    """Record a module.

    Raises:
        UnsupportedError: torch is too old.
    """
    release = torch.__version__.split(".")
    if (int(release[0]), int(release[1])) < _MIN_TORCH:
        raise UnsupportedError(
            f"exporting a network needs torch {_MIN_TORCH[0]}.{_MIN_TORCH[1]} or newer, and this is "
            f"{torch.__version__}; install a newer torch"
        )
    args, dims = _example(module, specification)
    with quiet(), torch.no_grad():
        return export(module, args, dynamic_shapes=dims, strict=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Return a context in which the exporters' own deprecation warnings are not shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield


def _example(
    module: ExportedNetwork, specification: ExportSpecification
) -> tuple[tuple[Tensor, ...], tuple[dict[int, object], ...]]:
    """Return inputs to trace with, and which of their axes vary."""
    every, batches = specification.dynamic is Dynamic.ALL, specification.dynamic is not Dynamic.NONE
    height, width = specification.size_hw
    if every:
        height, width = max(height, 2 * PATCH_SIZE), max(width, 2 * PATCH_SIZE)
    leading, dims = [_TRACED_BATCH if batches else 1], dict[int, object]()
    if batches:
        dims[0] = Dim("batch", min=1)
    if specification.has_views_axis:
        views = specification.views
        leading.append(_TRACED_VIEWS if views == "dynamic" else int(views))
        if views == "dynamic":
            dims[1] = Dim("views", min=1)
    focal_dims = dict(dims)
    is_uint8 = specification.input is GraphInput.UINT8
    if every:
        first = len(leading) + (0 if is_uint8 else 1)
        dims[first] = PATCH_SIZE * Dim("rows", min=1, max=_MAX_SIDE)
        dims[first + 1] = PATCH_SIZE * Dim("cols", min=1, max=_MAX_SIDE)
    shape = (*leading, height, width, 3) if is_uint8 else (*leading, 3, height, width)
    image = torch.zeros(shape, dtype=torch.uint8 if is_uint8 else torch.float32)
    if not module.takes_focal:
        return (image,), (dims,)
    return (image, torch.full(leading, 300.0)), (dims, focal_dims)
