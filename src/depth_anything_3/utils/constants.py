"""Kept for clients of upstream: default values of its command."""

from __future__ import annotations

__all__ = ["DEFAULT_EXPORT_DIR", "DEFAULT_MODEL", "THRESH_FOR_REF_SELECTION"]

DEFAULT_MODEL = "depth-anything/DA3NESTED-GIANT-LARGE-1.1"
"""Upstream's default checkpoint, for non-commercial use. The default of `da3` is another one."""

DEFAULT_EXPORT_DIR = "debug"
"""Upstream's default output folder."""

THRESH_FOR_REF_SELECTION = 3
"""Number of views from which a reference view is selected."""
