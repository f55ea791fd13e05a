"""Images beyond folders: object stores, web addresses, webdataset tars, parquet files, CSV and COCO lists."""

from __future__ import annotations

from depth_anything_3.jobs.sources.find import SourceOptions, find_stored, is_stored
from depth_anything_3.jobs.sources.stored_image import StoredImage

__all__ = ["SourceOptions", "StoredImage", "find_stored", "is_stored"]
