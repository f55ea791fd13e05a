"""Export a network to a file of another format, which appears only if it is right."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict

import torch
from torch import nn

from depth_anything_3.errors import DA3Error, ExportError, InvalidInputError
from depth_anything_3.exported.reference import NetworkReference, store_reference
from depth_anything_3.exported.runtimes.installed import installed_runtimes
from depth_anything_3.exported.specification import (
    Dynamic,
    ExportSpecification,
    GraphDtype,
    GraphInput,
    ModelFormat,
    Output,
)
from depth_anything_3.exported.verification import OnStep, Verification
from depth_anything_3.exported.verification_inputs import GraphShape, VerificationImages, bundled_images
from depth_anything_3.exported.verify_file import verify_file
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.model.catalog import PATCH_SIZE, ModelCard
from depth_anything_3.model.network import use_matrix_dtype

__all__ = [
    "EXPORT_SUFFIXES",
    "ExportKwargs",
    "check_export_path",
    "export_network",
    "parse_size",
    "parse_specification",
]

EXPORT_SUFFIXES = {ModelFormat.ONNX: ".onnx", ModelFormat.OPENVINO: ".xml", ModelFormat.PT2: ".pt2"}
"""Suffix of the file of each format."""


class ExportKwargs(TypedDict, total=False):
    """Keyword arguments of `DepthAnything3.export_model`; see `ExportSpecification`.

    `format` None is the one of the path's suffix. `size` is (height, width) or "280x504"; None is 280x504, or with a
    model trained for a smaller size that size in 16:9.
    """

    format: ModelFormat | str | None
    size: tuple[int, int] | str | None
    dynamic: Dynamic | str
    views: int | Literal["dynamic"]
    dtype: GraphDtype | str
    input: GraphInput | str
    outputs: Sequence[Output | str]


def parse_specification(path: Path, card: ModelCard, options: ExportKwargs) -> ExportSpecification:
    """Parse the options of an export, without importing what writes the file.

    Raises:
        InvalidInputError: a value is not accepted, or the suffix of the path is not that of the format.
    """
    given = options.get("format")
    by_suffix = next((one for one, suffix in EXPORT_SUFFIXES.items() if suffix == path.suffix.lower()), None)
    chosen = by_suffix if given is None else ModelFormat(given)
    if chosen is None or path.suffix.lower() != EXPORT_SUFFIXES[chosen]:
        accepted = EXPORT_SUFFIXES.items() if chosen is None else [(chosen, EXPORT_SUFFIXES[chosen])]
        names = ", ".join(f"{suffix} ({one.value})" for one, suffix in accepted)
        raise InvalidInputError(f"{path}: the suffix {path.suffix!r} is not that of the format; give {names}")
    size = options.get("size")
    return ExportSpecification(
        format=chosen,
        size_hw=_default_size(card) if size is None else parse_size(size),
        dynamic=Dynamic(options.get("dynamic", Dynamic.NONE)),
        views=options.get("views", 1),
        dtype=GraphDtype(options.get("dtype", GraphDtype.FLOAT32)),
        input=GraphInput(options.get("input", GraphInput.NORMALIZED)),
        outputs=tuple(map(Output, options.get("outputs", ()))),
    )


def check_export_path(path: Path) -> None:
    """Check that a file can be written.

    Raises:
        InvalidInputError: the path is a folder, or not a regular file.
    """
    if path.exists() and not path.is_file():
        what = "a folder; name a file in it" if path.is_dir() else "not a regular file; name another one"
        raise InvalidInputError(f"{path}: {what}")


def export_network(
    network: nn.Module,
    card: ModelCard,
    specification: ExportSpecification,
    path: Path,
    verify: bool | Sequence[ImageInput],
    on_step: OnStep,
) -> Verification:
    """Write a network to a file, and keep the file if it is right.

    The file, and those that belong to it, are written to a temporary folder beside it and moved if verification
    passes. An existing file is then replaced.

    Args:
        network: the network, on the CPU.
        card: its catalog entry.
        specification: what to export it as.
        path: the file.
        verify: whether to verify it, on the bundled images; or the images to verify it on besides these.
        on_step: called with a line before each step.

    Returns:
        What was compared. The file is there only if its `ok` is true.

    Raises:
        UnsupportedError: a library that writes the format, or runs it, is not installed, or the model does not support
            the request; raised before anything is written.
        InvalidInputError: the path cannot be a file.
        ImageReadError, ImageDecodeError: an image to verify on cannot be used.
        ExportError: the file cannot be written.
    """
    from depth_anything_3.exported.write import write_model

    check_export_path(path)
    more = [] if isinstance(verify, bool) else list(verify)
    wanted = verify if isinstance(verify, bool) else True
    if wanted:
        installed_runtimes(path)
    use_matrix_dtype(network, torch.float32)
    bundled = VerificationImages(bundled_images())
    reference = NetworkReference(network, card)
    with _folder_beside(path) as folder:
        on_step(f"exporting {card.name} to {path.name}")
        stored = store_reference(reference, bundled.inputs(_stored_shape(specification)))
        metadata = write_model(network, card, specification, folder / path.name, reference=stored)
        result = Verification(file=str(path), metadata=metadata)
        if wanted:
            images = VerificationImages([*more, *bundled_images()]) if more else bundled
            found = verify_file(folder / path.name, metadata, reference, images, on_step)
            result = _at(path, folder, found)
        if result.ok:
            _move(folder, path)
    return result


def _at(path: Path, folder: Path, found: Verification) -> Verification:
    """Name a file in messages by the path that it will have, not by its temporary one."""
    written = str(folder / path.name)
    cases = (replace(one, problem=one.problem and one.problem.replace(written, str(path))) for one in found.cases)
    not_run = (replace(one, reason=one.reason.replace(written, str(path))) for one in found.not_run)
    return replace(found, file=str(path), cases=tuple(cases), not_run=tuple(not_run))


def _stored_shape(specification: ExportSpecification) -> GraphShape:
    """Return the shape of the images whose results the file holds."""
    views = 3 if specification.views == "dynamic" else specification.views
    return GraphShape(specification.size_hw, 1, views)


def _default_size(card: ModelCard) -> tuple[int, int]:
    if card.best_process_res is None:
        return ExportSpecification().size_hw
    width = card.best_process_res
    return max(1, round(width * 9 / 16 / PATCH_SIZE)) * PATCH_SIZE, width


def parse_size(size: tuple[int, int] | str) -> tuple[int, int]:
    """Return (height, width), also of a text such as "280x504".

    Raises:
        InvalidInputError: the text is of another form.
    """
    if isinstance(size, str):
        found = re.fullmatch(r"(\d+)[xX](\d+)", size.strip())
        if found is None:
            raise InvalidInputError(f"size={size!r}: give HEIGHTxWIDTH in multiples of {PATCH_SIZE}, such as '280x504'")
        return int(found[1]), int(found[2])
    height, width = size
    return int(height), int(width)


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside a file, and remove it at the end.

    Raises:
        ExportError: a folder or file cannot be written.
    """
    folder = path.parent / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True)
        yield folder
    except DA3Error:
        raise
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, path: Path) -> None:
    """Move the files of a folder beside `path`; `path` itself last, which needs the others."""
    for one in sorted(folder.iterdir(), key=lambda one: one.name == path.name):
        os.replace(one, path.parent / one.name)
