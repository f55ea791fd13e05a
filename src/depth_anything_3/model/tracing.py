"""Whether an exporter is recording operations."""

from __future__ import annotations

import torch

__all__ = ["is_recording", "is_tracing", "is_variable"]


def is_tracing() -> bool:
    """Return whether `torch.jit.trace`, or the ONNX exporter that is based on it, is recording operations."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def is_recording() -> bool:
    """Return whether `torch.export` or `torch.jit.trace` is recording operations; `torch.compile` does not count."""
    # torch 2.6 has no is_exporting, and exported.program requires a newer one.
    is_exporting = getattr(torch.compiler, "is_exporting", None)
    return (is_exporting is not None and is_exporting()) or is_tracing()


def is_variable(size: object) -> bool:
    """Return whether an exporter records a size, or a number computed from sizes, as one that varies."""
    return isinstance(size, (torch.SymInt, torch.SymFloat)) and is_recording()
