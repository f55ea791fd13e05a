"""Reference view: class tokens of a scene's views in, the view that defines the frame out.

With three or more views and no given poses the network puts one view first and describes the others
relative to it. Which one is a choice, made from the class tokens half-way through the backbone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depth_anything_3.model.choices import RefViewStrategy

__all__ = [
    "order_from_reference",
    "order_to_original",
    "select_reference_view",
    "take_views",
]


def select_reference_view(tokens: Tensor, strategy: RefViewStrategy) -> Tensor:
    """Choose the reference view of each scene.

    Args:
        tokens: `(B, S, C)` class token of every view.
        strategy: The rule to apply.

    Returns:
        `(B,)` int64 view indices. On ties the first view wins.
    """
    batch, views, _ = tokens.shape
    if strategy is RefViewStrategy.FIRST:
        return torch.zeros(batch, dtype=torch.int64, device=tokens.device)
    if strategy is RefViewStrategy.MIDDLE:
        return torch.full((batch,), views // 2, dtype=torch.int64, device=tokens.device)

    norms: Tensor = torch.linalg.vector_norm(tokens, dim=-1)
    directions = tokens / norms.unsqueeze(-1)
    # A product of matrices, so it runs in low precision under autocast: the choice may then differ from
    # the one made in float32.
    similarity = (directions @ directions.transpose(1, 2)).float()
    # Exactly one is taken from the diagonal; what rounding leaves there takes part below.
    similarity = similarity - torch.eye(views, device=tokens.device)
    if strategy is RefViewStrategy.SADDLE_SIM_RANGE:
        return (similarity.amax(dim=-1) - similarity.amin(dim=-1)).argmax(dim=-1)
    measures = torch.stack([similarity.sum(dim=-1) / (views - 1), norms.float(), directions.float().var(dim=-1)])
    low, high = measures.amin(dim=-1, keepdim=True), measures.amax(dim=-1, keepdim=True)
    score = ((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(dim=0)
    return score.argmin(dim=-1)


def order_from_reference(reference: Tensor, views: int) -> Tensor:
    """The view order that puts the reference first and keeps the others' order: `(B, S)` int64."""
    place = torch.arange(views, device=reference.device)
    reference = reference.unsqueeze(1)
    return torch.where(place == 0, reference, torch.where(place <= reference, place - 1, place))


def order_to_original(reference: Tensor, views: int) -> Tensor:
    """The inverse of :func:`order_from_reference`: `(B, S)` int64."""
    view = torch.arange(views, device=reference.device)
    reference = reference.unsqueeze(1)
    return torch.where(view == reference, 0, torch.where(view < reference, view + 1, view))


def take_views(x: Tensor, order: Tensor) -> Tensor:
    """Rearrange the views of `x` `(B, S, ...)` by `order` `(B, S)`, each scene by its own row."""
    scene = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    return x[scene, order]
