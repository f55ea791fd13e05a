"""Whether torch.jit.trace is recording."""

from __future__ import annotations

import torch

__all__ = ["is_tracing"]


def is_tracing() -> bool:
    """Return whether `torch.jit.trace`, or the ONNX exporter that is based on it, is recording operations."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
