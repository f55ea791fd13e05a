"""The page of `da3 webcam --http`: live depth in a browser."""

from __future__ import annotations

__all__: list[str] = []
