"""Read and write COLMAP sparse models (colmap.github.io/format.html)."""

from __future__ import annotations

from depth_anything_3.export.colmap.find import Pairing, find_sparse_model, pair_images
from depth_anything_3.export.colmap.image_sizes import given_cameras
from depth_anything_3.export.colmap.model import SparseModel, SparsePoints
from depth_anything_3.export.colmap.read import read_sparse_model
from depth_anything_3.export.colmap.write import sparse_file_names, write_sparse_model

__all__ = [
    "Pairing",
    "SparseModel",
    "SparsePoints",
    "find_sparse_model",
    "given_cameras",
    "pair_images",
    "read_sparse_model",
    "sparse_file_names",
    "write_sparse_model",
]
