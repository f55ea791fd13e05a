"""The HTTP server of `da3 serve`: depth of uploaded images."""

from __future__ import annotations

__all__: list[str] = []
