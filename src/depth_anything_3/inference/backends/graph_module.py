"""Stand in for the network of a model that was loaded from an exported file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from depth_anything_3.errors import CheckpointFormatError
from depth_anything_3.exported.specification import GraphMetadata
from depth_anything_3.inference.backends.graph_backend import GraphBackend
from depth_anything_3.model.catalog import MODEL_CARDS, ModelCard

__all__ = ["GraphModule", "exported_card"]


class GraphModule(nn.Module):
    """An exported network, called as the network of torch; without weights.

    Args:
        backend: computes it.
    """

    def __init__(self, backend: GraphBackend) -> None:
        super().__init__()
        self.backend = backend

    def forward(
        self,
        x: torch.Tensor,
        extrinsics: torch.Tensor | None = None,
        intrinsics: torch.Tensor | None = None,
        **options: Any,
    ) -> Mapping[str, Any]:  # Any: see `DepthAnything3Net.forward`
        """Compute (B, S, 3, H, W) images; see `GraphBackend`."""
        return self.backend(x, extrinsics=extrinsics, intrinsics=intrinsics, **options)


def exported_card(metadata: GraphMetadata, file: str | os.PathLike[str]) -> ModelCard:
    """Return the catalog entry of an exported network, without what the file does not return.

    Raises:
        CheckpointFormatError: this version does not know the model.
    """
    card = MODEL_CARDS.get(metadata.model)
    if card is None:
        raise CheckpointFormatError(
            f"{os.fspath(file)}: an export of the unknown model {metadata.model!r}; this version supports "
            f"{', '.join(MODEL_CARDS)}"
        )
    return card
