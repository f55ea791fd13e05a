"""Kept for clients of upstream: `export_to_npz` and `export_to_mini_npz`."""

from __future__ import annotations

import os

from depth_anything_3.prediction import Prediction
from depth_anything_3.utils.export.write_format import write_format

__all__ = ["export_to_mini_npz", "export_to_npz"]


def export_to_npz(prediction: Prediction, export_dir: str | os.PathLike[str]) -> None:
    """Write `exports/npz/results.npz`; upstream writes it in another thread.

    Raises:
        ExportError: the file cannot be written.
    """
    write_format(prediction, "npz", export_dir, {})


def export_to_mini_npz(prediction: Prediction, export_dir: str | os.PathLike[str]) -> None:
    """Write `exports/mini_npz/results.npz`; upstream writes it in another thread.

    Raises:
        ExportError: the file cannot be written.
    """
    write_format(prediction, "mini_npz", export_dir, {})
