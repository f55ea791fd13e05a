"""Read the description in an exported file, and report files that cannot be used."""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.errors import CheckpointFormatError, InvalidInputError
from depth_anything_3.exported.specification import GraphMetadata
from depth_anything_3.runtime.device_errors import error_reason

__all__ = ["damaged_file", "parse_description"]


def parse_description(path: Path, text: str | None) -> GraphMetadata:
    """Parse the description that a file holds.

    Args:
        path: the file, for messages.
        text: the description; None: the file has none.

    Raises:
        CheckpointFormatError: there is none, or it cannot be read.
    """
    if not text:
        raise CheckpointFormatError(
            f"{path}: not a model that this package exported: it does not say what it takes and returns; write one "
            "with `da3 export-model`"
        )
    try:
        return GraphMetadata.from_json(text)
    except InvalidInputError as error:
        raise CheckpointFormatError(f"{path}: {error}; export the model again") from None


def damaged_file(path: Path, error: BaseException) -> CheckpointFormatError:
    """Make the error of a file that a library cannot open."""
    files = f"{path} and {path.with_suffix('.bin').name}" if path.suffix == ".xml" else f"{path}"
    return CheckpointFormatError(
        f"{files}: truncated, damaged, or of a version that is not supported here ({error_reason(error)}); copy or "
        "export it again"
    )
