"""Keep the settings of results beside them, where there is no manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.jobs.manifest import Settings, differences
from depth_anything_3.jobs.sinks.place import Place
from depth_anything_3.runtime.version import __version__

__all__ = ["SETTINGS_FILE", "same_settings", "write_settings"]

SETTINGS_FILE = "da3-settings.json"
"""Name of the file."""


def same_settings(place: Place, settings: Settings, *, overwrite: bool) -> bool:
    """Whether the results of a place have these settings, or there are none.

    Raises:
        InvalidInputError: they have others, and `overwrite` is False; or the file is damaged.
    """
    content = place.read(SETTINGS_FILE)
    if content is None:
        return True
    try:
        earlier: dict[str, Any] = json.loads(content)["settings"]  # Any: plain JSON values
        earlier.keys()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInputError(
            f"{place.name}/{SETTINGS_FILE}: is damaged; choose another folder, or remove the results and this file"
        ) from None
    if earlier == dict(settings):
        return True
    if not overwrite:
        raise differences(Path(place.name), {"this folder": earlier}, settings)
    return False


def write_settings(place: Place, settings: Settings) -> None:
    """Write the settings.

    Raises:
        ExportError: the file cannot be written.
    """
    with place.writing(SETTINGS_FILE) as file:
        file.write_text(json.dumps({"settings": dict(settings), "version": __version__}, indent=2) + "\n")
