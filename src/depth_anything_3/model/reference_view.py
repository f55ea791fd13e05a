"""Choose the reference view of a scene, and reorder views.

With three or more views and no given poses, the network places the reference view first and predicts the others
relative to it. It is chosen from the class tokens in the middle of the backbone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depth_anything_3.model.choices import RefViewStrategy
from depth_anything_3.model.tracing import is_variable

__all__ = [
    "MIN_VIEWS",
    "order_from_reference",
    "order_to_original",
    "select_reference_view",
    "take_views",
]


MIN_VIEWS = 3
"""Scenes of fewer views have no reference view: they keep their order."""


def select_reference_view(tokens: Tensor, strategy: RefViewStrategy) -> Tensor:
    """Choose the reference view of each scene.

    Args:
        tokens: `(B, S, C)` class token of every view.
        strategy: How to choose.

    Returns:
        `(B,)` int64 view indices; the first view on ties. In a recorded graph of any number of views, also the first
        of fewer than three, which keeps their order.
    """
    views = tokens.shape[1]
    if not is_variable(views):
        return _select(tokens, strategy)
    enough = torch.scalar_tensor(views, dtype=torch.int64, device=tokens.device) >= MIN_VIEWS
    return torch.where(enough, _select(tokens, strategy), 0)


def _select(tokens: Tensor, strategy: RefViewStrategy) -> Tensor:
    batch, views, _ = tokens.shape
    if strategy is RefViewStrategy.FIRST:
        return torch.zeros(batch, dtype=torch.int64, device=tokens.device)
    if strategy is RefViewStrategy.MIDDLE:
        return torch.full((batch,), views // 2, dtype=torch.int64, device=tokens.device)

    norms: Tensor = torch.linalg.vector_norm(tokens, dim=-1)
    directions = tokens / norms.unsqueeze(-1)
    # Under autocast this matrix product has low precision, so the choice may differ from float32.
    similarity = (directions @ directions.transpose(1, 2)).float()
    # Rounding leaves a remainder on the diagonal, which takes part below as in upstream.
    similarity = similarity - torch.eye(views, device=tokens.device)
    if strategy is RefViewStrategy.SADDLE_SIM_RANGE:
        return (similarity.amax(dim=-1) - similarity.amin(dim=-1)).argmax(dim=-1)
    measures = torch.stack([similarity.sum(dim=-1) / (views - 1), norms.float(), directions.float().var(dim=-1)])
    low, high = measures.amin(dim=-1, keepdim=True), measures.amax(dim=-1, keepdim=True)
    score = ((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(dim=0)
    return score.argmin(dim=-1)


def order_from_reference(reference: Tensor, views: int) -> Tensor:
    """Return the order of views that places the reference first: `(B, S)` int64."""
    place = torch.arange(views, device=reference.device)
    reference = reference.unsqueeze(1)
    return torch.where(place == 0, reference, torch.where(place <= reference, place - 1, place))


def order_to_original(reference: Tensor, views: int) -> Tensor:
    """Return the inverse of :func:`order_from_reference`: `(B, S)` int64."""
    view = torch.arange(views, device=reference.device)
    reference = reference.unsqueeze(1)
    return torch.where(view == reference, 0, torch.where(view < reference, view + 1, view))


def take_views(x: Tensor, order: Tensor) -> Tensor:
    """Reorder the views of `x` `(B, S, ...)` by `order` `(B, S)`."""
    scene = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    return x[scene, order]
