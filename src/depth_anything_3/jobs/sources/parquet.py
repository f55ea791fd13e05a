"""Read the images of a column of parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import PurePosixPath
from typing import IO, Any

from depth_anything_3.errors import DA3Error, ImageDecodeError, ImageReadError, InvalidInputError, UnsupportedError
from depth_anything_3.jobs.sources.stored_image import StoredImage

__all__ = ["import_pyarrow", "parquet_images"]

_IMAGE_COLUMNS = ("image", "bytes", "jpg", "jpeg", "png", "webp")
_ID_COLUMNS = ("id", "__key__", "key")
_ROWS = 16  # read together


def import_pyarrow() -> Any:  # Any: pyarrow is not typed
    """Import pyarrow.

    Raises:
        UnsupportedError: it is missing.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UnsupportedError("parquet needs the package pyarrow: pip install '.[parquet]'") from None
    return pyarrow


def parquet_images(
    label: str,
    opened: Callable[[], IO[bytes]],
    image_column: str | None = None,
    id_column: str | None = None,
    selects: Callable[[str], bool] | None = None,
) -> Iterator[StoredImage]:
    """Yield the images of a parquet file, in its order.

    Args:
        label: name of the file.
        opened: opens it.
        image_column: column with the bytes of image files, or with structs of `bytes` and `path`, as Hugging Face
            datasets have; None: the first of image, bytes, jpg, jpeg, png, webp.
        id_column: column with the ids; None: id, `__key__` or key; without these the file's name and the row.
        selects: whether to take the image of this id; others are passed over. None: all are taken.

    Yields:
        The images; if the file is damaged, its error is the last of them, under the file's own name.

    Raises:
        UnsupportedError: pyarrow is missing.
        InvalidInputError: there is no such column, or it holds no bytes.
    """
    pa = import_pyarrow()
    try:
        with closing(opened()) as file:
            # Without these, whole row groups are read at once.
            table = pa.parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
            image, id = _columns(pa, table.schema_arrow, label, image_column, id_column)
            row = 0
            names = [image] if id is None else [image, id]
            for batch in table.iter_batches(batch_size=_ROWS, columns=names, use_threads=False):
                ids = [None] * len(batch) if id is None else batch.column(names.index(id)).to_pylist()
                for value, given in zip(batch.column(0), ids, strict=True):
                    own = f"{PurePosixPath(label).stem}-{row:08d}" if given is None else str(given)
                    if selects is None or selects(own):
                        yield StoredImage(own, f"{label}/row {row}", _data(value.as_py(), f"{label}/row {row}"))
                    row += 1
    except DA3Error as error:
        if isinstance(error, InvalidInputError):
            raise
        yield StoredImage(label, label, error)  # of the store
    except (pa.ArrowException, ValueError) as error:
        first = str(error).partition("\n")[0]
        yield StoredImage(label, label, ImageDecodeError(f"{label}: the parquet file is damaged ({first})"))
    except OSError as error:
        yield StoredImage(label, label, ImageReadError(f"{label}: cannot be read ({error.strerror or error})"))


def _columns(
    pa: Any, schema: Any, label: str, image_column: str | None, id_column: str | None
) -> tuple[str, str | None]:  # Any: pyarrow is not typed
    """Choose the columns of images and ids."""
    names = list(schema.names)
    image = image_column or next((one for one in _IMAGE_COLUMNS if one in names), None)
    for given in (image, id_column):
        if given is None and image is not None:
            continue
        if given is None or given not in names:
            missing = "a column of images" if given is None else f"the column {given!r}"
            raise InvalidInputError(
                f"{label}: has not {missing}; its columns are {', '.join(names)}. Give one as image_column or id_column"
            )
    assert image is not None
    kind = schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InvalidInputError(
            f"{label}: the column {image!r} holds {kind}, not the bytes of image files; give another image_column"
        )
    return image, id_column or next((one for one in _ID_COLUMNS if one in names), None)


def _data(value: Any, label: str) -> bytes | DA3Error:  # Any: a cell
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if not data:
        return ImageReadError(f"{label}: the cell is empty")
    return bytes(data)
