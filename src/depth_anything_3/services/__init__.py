"""Kept for clients of upstream: input handlers and `InferenceService`."""

from __future__ import annotations

__all__: list[str] = []
