"""Kept for clients of upstream: `logger`, whose methods take the arguments of `print`."""

from __future__ import annotations

import logging

__all__ = ["Logger", "logger"]


class Logger:
    """Passes messages to a logger of the standard library; arguments are joined by spaces, not formatted.

    Upstream prints messages itself. These appear as `logging` is configured, by default from warnings up.

    Args:
        name: of the standard library's logger.
    """

    def __init__(self, name: str) -> None:
        self._target = logging.getLogger(name)

    def debug(self, *values: object) -> None:
        """Log a debug message."""
        self._log(logging.DEBUG, values)

    def info(self, *values: object) -> None:
        """Log an informational message."""
        self._log(logging.INFO, values)

    def warning(self, *values: object) -> None:
        """Log a warning."""
        self._log(logging.WARNING, values)

    def warn(self, *values: object) -> None:
        """Log a warning."""
        self._log(logging.WARNING, values)

    def error(self, *values: object) -> None:
        """Log an error."""
        self._log(logging.ERROR, values)

    def _log(self, level: int, values: tuple[object, ...]) -> None:
        # The level of the caller's caller: the line of the client.
        self._target.log(level, "%s", " ".join(map(str, values)), stacklevel=3)


logger = Logger("depth_anything_3")
