"""Transformer blocks.

Pre-norm blocks with layer scale as in DINOv2 (Oquab et al., 2023), on tokens `(batch, tokens, width)`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_anything_3.model.catalog import FeedForward
from depth_anything_3.model.rope import RotaryTable, apply_rotary

__all__ = ["Attention", "Block", "LayerScale", "Mlp", "SwiGlu"]


class Attention(nn.Module):
    """Multi-head self-attention, optionally with normalised and rotated queries and keys.

    Attributes:
        strongly_typed: compute norms and softmax in float32 by operations of their own, whatever the precision of the
            matrix products. Torch's kernels do so inside; an exported graph has to say it.
    """

    strongly_typed = False

    def __init__(self, width: int, heads: int, *, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotary: RotaryTable | None = None) -> Tensor:
        """Attend among the tokens of each sequence; `rotary` holds one row per token."""
        qkv: Tensor = self.qkv(x)
        q, k, v = torch.unflatten(qkv, -1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.strongly_typed:
            q, k = q.float(), k.float()
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = apply_rotary(q, rotary), apply_rotary(k, rotary)
        # Norms and rotation are float32 even under autocast; the attention has the precision of qkv.
        q, k = q.to(v.dtype), k.to(v.dtype)
        out = _attend(q, k, v) if self.strongly_typed else F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    attended: Tensor = scores.float().softmax(dim=-1).to(v.dtype) @ v
    return attended


class Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between them."""

    def __init__(self, width_in: int, hidden: int, width_out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width_in, hidden)
        self.fc2 = nn.Linear(hidden, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., width_in)` to `(..., width_out)`."""
        # The tanh approximation of GELU would change depth by about 1e-4 (relative).
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class SwiGlu(nn.Module):
    """Gated feed-forward layer (Shazeer, 2020): the first half of `w12` gates the second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Two thirds of 4 * width, rounded up to a multiple of 8.
        hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., width)` to `(..., width)`."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        out: Tensor = self.w3(F.silu(gate) * value)
        return out


class LayerScale(nn.Module):
    """Multiplies each channel by a learned factor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., width)` to `(..., width)`."""
        return x * self.gamma


class Block(nn.Module):
    """Attention, then feed-forward, each with a norm before it, layer scale after it, and a residual connection."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        norm_eps: float,
        qk_norm: bool = False,
        feed_forward: FeedForward = FeedForward.MLP,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, heads, qk_norm=qk_norm)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = SwiGlu(width) if feed_forward is FeedForward.SWIGLU else Mlp(width, 4 * width, width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor, rotary: RotaryTable | None = None) -> Tensor:
        """Map `(batch, tokens, width)` to the same shape; `rotary` holds one row per token."""
        x = x + self.ls1(self.attn(self.norm1(x), rotary))
        x = x + self.ls2(self.mlp(self.norm2(x)))
        return x
