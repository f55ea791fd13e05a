"""Read the image of a request within the limits of its size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from depth_anything_3.services.server.admission import Admission
from depth_anything_3.services.server.problems import Problem
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["Hold", "Upload", "declared_bytes", "uploaded", "uploaded_views"]

Result = TypeVar("Result")

_FIELDS = ("image", "file")
_MAX_FIELDS = 8
_MAX_NAME = 100


@dataclass(frozen=True, eq=False)
class Upload:
    """An uploaded file.

    Attributes:
        data: its bytes.
        name: name for messages and results: the last part of the name that a form gives, or "image".
    """

    data: bytes
    name: str = "image"


def declared_bytes(length: str | None, most: int) -> int | None:
    """Return the Content-Length of a request, None if it has none, before anything is read.

    Raises:
        Problem: 400 if it is no number, 413 if it is above the limit.
    """
    if length is None:
        return None
    if not length.isdecimal():
        raise Problem(400, "invalid-length", f"Content-Length {length[:40]!r} is not a number of bytes")
    if len(length) > 18 or int(length) > most:
        raise _too_large(most)
    return int(length)


class Hold:
    """Bytes of a body that count as held, until they are released."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.bytes = 0

    def add(self, count: int) -> None:
        """Hold more bytes.

        Raises:
            Problem: 429.
        """
        self._admission.hold_bytes(count)
        self.bytes += count

    def release(self) -> None:
        """Give all bytes back."""
        self._admission.release_bytes(self.bytes)
        self.bytes = 0


@asynccontextmanager
async def uploaded(request: Request, settings: ServerSettings, admission: Admission) -> AsyncIterator[Upload]:
    """Read the body of a request; its bytes count as held until the end of the block.

    They count from the beginning if their number is known: otherwise many bodies that are sent at the same time would
    together exceed the limit, and none of them would be finished.

    Raises:
        Problem: 400 (no image, a damaged form), 408 (too slow), 413, 415 (neither a form nor a body), 429.
        ClientDisconnect: the client has gone.
    """
    hold = Hold(admission)
    try:
        chunks = _bounded(request, settings.max_body_bytes, hold)
        reading = _one_file(request, chunks, settings.max_body_bytes) if _is_form(request) else _raw(chunks)
        upload = await _in_time(reading, settings)
        if not upload.data:
            raise Problem(400, "empty-body", "the body is empty; send the bytes of an image file")
        yield upload
    finally:
        hold.release()


async def uploaded_views(request: Request, settings: ServerSettings, hold: Hold) -> tuple[list[Upload], str]:
    """Read the files named `images` of a form, and the text of its part `options`.

    Args:
        request: of a client.
        settings: limits.
        hold: counts the bytes of the body; the caller releases them.

    Returns:
        The files in the order of the form, and the text, empty if there is none.

    Raises:
        Problem: 400 (no images, a damaged form), 408 (too slow), 413 (too many images or bytes), 415 (not a form), 429.
        ClientDisconnect: the client has gone.
    """
    if not _is_form(request):
        raise Problem(415, "not-a-form", "send multipart/form-data with one part named images for each view")
    chunks = _bounded(request, settings.max_body_bytes, hold)
    return await _in_time(_views(request, chunks, settings), settings)


async def _in_time(reading: Awaitable[Result], settings: ServerSettings) -> Result:
    try:
        return await asyncio.wait_for(reading, settings.read_timeout)
    except asyncio.TimeoutError:
        raise Problem(
            408, "slow-body", f"the body did not arrive within {settings.read_timeout:g} s; send it faster"
        ) from None


async def _bounded(request: Request, most: int, hold: Hold) -> AsyncIterator[bytes]:
    """Yield the chunks of a body, which count as held.

    They count from the beginning if their number is known: otherwise many bodies that are sent at the same time would
    together exceed the limit, and none of them would be finished.
    """
    hold.add(declared_bytes(request.headers.get("content-length"), most) or 0)
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > most:
            raise _too_large(most)
        if count > hold.bytes:
            hold.add(count - hold.bytes)
        yield chunk


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").strip().lower().startswith("multipart/")


async def _raw(chunks: AsyncIterator[bytes]) -> Upload:
    return Upload(b"".join([chunk async for chunk in chunks]))


async def _one_file(request: Request, chunks: AsyncIterator[bytes], most: int) -> Upload:
    async with _form(request, chunks, most, max_files=1) as form:
        files = [form.get(name) for name in _FIELDS]
        file = next((one for one in files if isinstance(one, UploadFile)), None)
        if file is None:
            raise Problem(400, "no-image", "the form has no file named image; send one part: name=image and a filename")
        return Upload(await file.read(), _plain_name(file.filename or ""))


async def _views(request: Request, chunks: AsyncIterator[bytes], settings: ServerSettings) -> tuple[list[Upload], str]:
    most = settings.max_views
    # One more view is read than is accepted, to say that there are too many, and one part of options.
    async with _form(request, chunks, settings.max_body_bytes, max_files=most + 2) as form:
        for name in form:
            if name not in ("images", "options"):
                raise Problem(400, "unknown-part", f"the form has a part named {name[:40]!r}; send images and options")
        files = [one for one in form.getlist("images") if isinstance(one, UploadFile)]
        if not files:
            raise Problem(400, "no-images", "the form has no file named images; send one part for each view")
        if len(files) > most:
            raise Problem(413, "too-many-views", f"more than {most} views, the limit of this server")
        options = form.get("options", "")
        text = (await options.read()).decode(errors="replace") if isinstance(options, UploadFile) else options
        return [Upload(await one.read(), _plain_name(one.filename or "")) for one in files], text


@asynccontextmanager
async def _form(
    request: Request, chunks: AsyncIterator[bytes], most: int, *, max_files: int
) -> AsyncIterator[FormData]:
    parser = MultiPartParser(
        request.headers,
        chunks,  # type: ignore[arg-type]  # it asks for a generator, and iterates only
        max_files=max_files,
        max_fields=_MAX_FIELDS,
        max_part_size=most,
    )
    parser.spool_max_size = most  # in memory, not in a file
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        reason = getattr(error, "message", "its header is damaged")
        raise Problem(400, "damaged-form", f"the form cannot be read ({reason})") from error
    try:
        yield form
    finally:
        await form.close()


def _plain_name(name: str) -> str:
    """Return the last part of a file's name, printable and short."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(one for one in last if one.isprintable())[-_MAX_NAME:] or "image"


def _too_large(most: int) -> Problem:
    return Problem(413, "body-too-large", f"the body has more than {most:,} bytes, the limit of this server")
