"""A dictionary whose keys are also attributes."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["AttributeDict"]

Value = TypeVar("Value")


class AttributeDict(dict[str, Value]):
    """A dictionary whose keys are also attributes, as upstream's results have them.

    Example:
        >>> outputs = AttributeDict(depth=1.0)
        >>> outputs.depth == outputs["depth"]
        True
    """

    def __getattr__(self, name: str) -> Value:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r}; there are: {', '.join(self) or 'none'}") from None

    def __setattr__(self, name: str, value: Value) -> None:
        self[name] = value
