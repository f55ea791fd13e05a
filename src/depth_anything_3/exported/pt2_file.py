"""Write a program as a file of torch.export."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from depth_anything_3.exported.program import quiet
from depth_anything_3.exported.specification import METADATA_KEY, GraphMetadata

__all__ = ["write_pt2"]


def write_pt2(program: ExportedProgram, metadata: GraphMetadata, path: Path) -> None:
    """Write `path`; the description is an extra file of the archive."""
    with quiet():
        torch.export.save(program, path, extra_files={METADATA_KEY: metadata.to_json()})
