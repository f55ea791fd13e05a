"""Tell stored images from files in folders, and list them."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from depth_anything_3.errors import InputFileError, InvalidInputError
from depth_anything_3.inputs.discover import IMAGE_EXTENSIONS, FoundImage, find_with_folders, is_pattern
from depth_anything_3.inputs.limits import MAX_BYTES
from depth_anything_3.jobs.sources.address import is_address, normalized, shown
from depth_anything_3.jobs.sources.kind import ARCHIVES, TARS, is_stored, kind_of, lines_of
from depth_anything_3.jobs.sources.lists import listed_images
from depth_anything_3.jobs.sources.parquet import import_pyarrow, parquet_images
from depth_anything_3.jobs.sources.selection import Selection
from depth_anything_3.jobs.sources.store import ObjectFile, open_store
from depth_anything_3.jobs.sources.stored_image import StoredImage
from depth_anything_3.jobs.sources.tar import tar_images

__all__ = ["SourceOptions", "find_stored"]

_OBJECT_BUFFER = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Options of sources.

    Attributes:
        image_column: column of a table, or ending of the members of a tar, with the images; None: see each source.
        id_column: column with the ids; None: see each source.
        root: folder or prefix of the relative paths of a list; None: that of the list.
        image_extensions: endings of objects that are images, joined with ','.
        recursive: whether subfolders on disk are searched; prefixes always are.
        exclude: folders on disk that are not searched.
        max_bytes: maximum size of an image.
        selection: the images that the run computes; others are not read, where that is possible. None: all.
    """

    image_column: str | None = None
    id_column: str | None = None
    root: str | None = None
    image_extensions: str = IMAGE_EXTENSIONS
    recursive: bool = False
    exclude: tuple[Path, ...] = ()
    max_bytes: int = MAX_BYTES
    selection: Selection | None = None


def find_stored(sources: Sequence[str], options: SourceOptions | None = None) -> Iterator[StoredImage]:
    """List images of any source, lazily: what is behind a function is not read yet.

    Sources are checked before the first image is asked for. Ids: of objects below a prefix, and of files of a folder,
    the path relative to it; of a single object or file, its name, or in `@list.txt` the line; of tars, tables and
    lists, see each. Ids are the same in every run; two images of one id are not told apart here.

    With a selection, the images of other shards are passed over. What makes a whole tar or table unreadable is given to
    every shard, since each loses images by it.

    Args:
        sources: addresses of objects or prefixes, also with `*`; tars, parquet files, CSV and COCO lists, on disk or
            in a store; and what `find_with_folders` takes. `@list.txt` may have any of these as lines.
        options: of the sources.

    Raises:
        InvalidInputError, ImageReadError: a source is missing or has no images; see also each source.
        UnsupportedError: a package is missing.
    """
    chosen = options or SourceOptions()
    makers = [partial(_images, one, chosen, is_line) for source in sources for one, is_line in _expanded(source)]
    if not makers:
        raise InvalidInputError("no source: give an image, a folder, an address, a tar, a parquet file or a list")
    return (image for make in makers for image in make())


def _expanded(source: str) -> list[tuple[str, bool]]:
    """Check a source; return it, or what a list or pattern stands for; each with whether it is the line of a list."""
    lines = lines_of(source)
    if lines is None:
        return [(one, False) for one in _matching(source)]
    if not is_stored(source):
        return [(source, False)]
    return [(one, True) for line in lines for one in _matching(line)]


def _matching(source: str) -> list[str]:
    kind = kind_of(source)
    if kind == ".parquet":
        import_pyarrow()
    if is_address(source):
        store = open_store(source)
        return store.glob(source) if "*" in shown(source) else [normalized(source)]
    if not is_stored(source):
        return [source]
    if os.path.isfile(source):
        return [source]
    if found := sorted(one for one in glob.glob(source, recursive=True) if os.path.isfile(one)):
        return found
    raise InputFileError(f"{source}: no such file")


def _images(source: str, options: SourceOptions, is_line: bool) -> Iterator[StoredImage]:
    if (kind := kind_of(source)) is not None and is_stored(source):
        return _contained(source, kind, options)
    if not is_address(source):
        return _selected(_on_disk(source, options, is_line), options)
    store = open_store(source)
    extensions = tuple(f".{one.strip().lstrip('.').lower()}" for one in options.image_extensions.split(","))
    if not shown(source).lower().endswith(extensions) and store.is_prefix(source):
        return _below(source, extensions, options)
    id = shown(source) if is_line else shown(source).rstrip("/").rpartition("/")[2]
    return _selected(iter([_object(source, id, options)]), options)


def _selected(images: Iterator[StoredImage], options: SourceOptions) -> Iterator[StoredImage]:
    """Yield the images of the run; those that are passed over are not read."""
    selects = options.selection
    return images if selects is None else (one for one in images if selects(one.id))


def _below(prefix: str, extensions: tuple[str, ...], options: SourceOptions) -> Iterator[StoredImage]:
    """Yield the images below a prefix, and those of its tars and parquet files."""
    top = shown(prefix).rstrip("/") + "/"
    found = False
    for address in open_store(prefix).objects(prefix):
        lower = address.lower()
        if lower.endswith(extensions):
            found = True
            yield from _selected(iter([_object(address, address.removeprefix(top), options)]), options)
        elif lower.endswith(ARCHIVES):
            found = True
            yield from _contained(address, cast(str, kind_of(address)), options)
    if not found:
        raise InvalidInputError(f"{top}: no objects ending in {', '.join(extensions)}, .tar or .parquet below it")


def _object(address: str, id: str, options: SourceOptions) -> StoredImage:
    return StoredImage(id, shown(address), partial(open_store(address).read, address, options.max_bytes))


def _on_disk(source: str, options: SourceOptions, is_line: bool) -> Iterator[StoredImage]:
    if is_line and not os.path.isdir(source) and not is_pattern(source):
        return iter([StoredImage(source, source, Path(source))])
    found = find_with_folders([source], options.image_extensions, recursive=options.recursive, exclude=options.exclude)
    return (StoredImage(_relative(one), str(one.path), one.path) for one in found)


def _relative(image: FoundImage) -> str:
    try:
        return image.path.relative_to(image.folder).as_posix()
    except ValueError:
        return image.path.name


def _contained(source: str, kind: str, options: SourceOptions) -> Iterator[StoredImage]:
    label = shown(source)

    def opened() -> IO[bytes]:
        if is_address(source):
            return cast(IO[bytes], io.BufferedReader(ObjectFile(source), _OBJECT_BUFFER))
        return open(source, "rb")

    if kind in TARS:
        return tar_images(label, opened, options.image_column, options.max_bytes, options.selection)
    if kind == ".parquet":
        return parquet_images(label, opened, options.image_column, options.id_column, options.selection)
    return _selected(listed_images(source, options.root, options.image_column, options.id_column), options)
