"""Compute one image and write its result to one file of any name, or to standard output."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export.checks import check_export_dir
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inputs.discover import FoundImage
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.images import run_images
from depth_anything_3.jobs.report import RunReport
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["STDOUT", "check_target", "run_to_file"]

STDOUT = Path("-")
"""The target that means standard output."""


def check_target(target: Path, source: Path, *, overwrite: bool) -> None:
    """Check that a result may be written to a path, before anything is computed.

    Raises:
        InvalidInputError: the path is a folder, the source itself or a device; it exists, and `overwrite` is False; or
            it is standard output, and that is a terminal.
        ExportError: a folder above it is a file.
    """
    if target == STDOUT:
        if sys.stdout.isatty():
            raise InvalidInputError("a binary file is not written to a terminal; redirect it, as in > depth.png")
        return
    if target.is_dir():
        raise InvalidInputError(f"{target}: a folder; name a file in it, or use export_dir")
    if target.exists():
        if source.exists() and os.path.samefile(target, source):
            raise InvalidInputError(f"{target}: the image itself, which is not replaced; name another file")
        if not target.is_file():
            raise InvalidInputError(f"{target}: not a regular file; name another one, or - for standard output")
        if not overwrite:
            raise InvalidInputError(f"{target}: exists; pass overwrite=True to replace it, or name another file")
    check_export_dir(target.parent)


def run_to_file(
    engine: Engine, image: FoundImage, target: Path, destination: Destination, options: StreamOptions
) -> RunReport:
    """Compute an image, and write its result to `target` alone: without manifest and report, atomically.

    Args:
        engine: the network.
        image: the image.
        target: the file, see `check_target`; an existing one is replaced. `STDOUT`: standard output.
        destination: one format that writes one file; its folder is not used.
        options: preprocessing and network.

    Raises:
        DA3Error: see `run_images`.
        ExportError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="da3-") as folder:
        report = run_images(engine, [image], replace(destination, folder=Path(folder)), options)
        report.export_dir = "standard output" if target == STDOUT else str(target)
        for number, record in enumerate(report.records):
            if not record.outputs:
                continue
            (file,) = record.outputs
            _copy(Path(file), target)
            report.records[number] = replace(record, outputs=[str(target)])
    return report


def _copy(file: Path, target: Path) -> None:
    if target == STDOUT:
        try:
            sys.stdout.buffer.write(file.read_bytes())
            sys.stdout.flush()
        except OSError as error:  # the reader has gone
            raise ExportError(f"standard output: cannot be written ({error.strerror or error})") from error
        return
    with atomic_write(target) as temporary:
        shutil.copyfile(file, temporary)
