"""Read the images of webdataset tars, one member after another."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import IO

from depth_anything_3.errors import DA3Error, ImageDecodeError, ImageReadError
from depth_anything_3.inputs.discover import IMAGE_EXTENSIONS
from depth_anything_3.inputs.image_source import check_bytes
from depth_anything_3.inputs.limits import MAX_BYTES
from depth_anything_3.jobs.sources.stored_image import StoredImage

__all__ = ["tar_images"]

_EXTENSIONS = frozenset(IMAGE_EXTENSIONS.split(","))


class _Member(tarfile.TarInfo):
    """A member of a tar whose damaged headers raise errors: `tarfile` takes one that is not the first for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Member:
        """Read the next header."""
        from tarfile import InvalidHeaderError, ReadError, TruncatedHeaderError  # type: ignore[attr-defined]

        try:
            return super().fromtarfile(tarfile)
        except (InvalidHeaderError, TruncatedHeaderError) as error:
            raise ReadError(str(error)) from None


def tar_images(
    label: str,
    opened: Callable[[], IO[bytes]],
    column: str | None = None,
    max_bytes: int = MAX_BYTES,
    selects: Callable[[str], bool] | None = None,
) -> Iterator[StoredImage]:
    """Yield the images of a tar, in its order. The key of its sample is the id of an image.

    The key is the name of the member up to the first dot of its last part, as webdataset has it. Names are never used
    as paths. Links, devices and folders are left out.

    Args:
        label: name of the tar.
        opened: opens it.
        column: ending of the members to take, such as "jpg" or "left.png"; None: any single ending of an image file.
        max_bytes: an image with more fails, unread.
        selects: whether to take the image of this id; others are passed over. None: all are taken.

    Yields:
        The images; if the tar is damaged, its error is the last of them, under the tar's own name.
    """
    wanted = None if column is None else column.lower().lstrip(".")
    try:
        with closing(opened()) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as tar:
            for member in tar:
                key, extension = _parts(member.name)
                matches = extension in _EXTENSIONS if wanted is None else extension == wanted
                if member.isreg() and matches and key and (selects is None or selects(key)):
                    yield _image(tar, member, key, f"{label}/{member.name}", max_bytes)
    except DA3Error as error:  # of the store
        yield StoredImage(label, label, error)
    except (tarfile.TarError, EOFError, ValueError) as error:
        yield StoredImage(label, label, ImageDecodeError(f"{label}: the tar is damaged ({error})"))
    except OSError as error:
        yield StoredImage(label, label, ImageReadError(f"{label}: cannot be read ({error.strerror or error})"))


def _parts(name: str) -> tuple[str, str]:
    """Split the name of a member into key and ending: "a/b.left.png" into "a/b" and "left.png"."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}{slash}{stem}" if stem else "", extension.lower())


def _image(tar: tarfile.TarFile, member: tarfile.TarInfo, key: str, label: str, max_bytes: int) -> StoredImage:
    try:
        check_bytes(member.size, label, max_bytes)
    except DA3Error as error:
        return StoredImage(key, label, error)
    content = tar.extractfile(member)
    assert content is not None  # a regular file
    data = content.read()
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name} ends after {len(data):,} of {member.size:,} bytes")
    return StoredImage(key, label, data or ImageReadError(f"{label}: the member is empty"))
