"""Where results of stored images go: files, webdataset tars or parquet, in a folder or an object store."""

from __future__ import annotations

from depth_anything_3.jobs.sinks.open import open_sink
from depth_anything_3.jobs.sinks.sink import Pack, Sink, SinkOptions

__all__ = ["Pack", "Sink", "SinkOptions", "open_sink"]
