"""Kept for clients of upstream: release of the GPU's cached memory."""

from __future__ import annotations

import gc

import torch

__all__ = ["cleanup_cuda_memory"]


def cleanup_cuda_memory() -> None:
    """Collect garbage and return cached CUDA memory to the driver; without CUDA, only the former."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
