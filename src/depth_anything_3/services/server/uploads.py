"""Read the image of a request within the limits of its size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from depth_anything_3.services.server.admission import Admission
from depth_anything_3.services.server.problems import Problem
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["Upload", "declared_bytes", "uploaded"]

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


@asynccontextmanager
async def uploaded(request: Request, settings: ServerSettings, admission: Admission) -> AsyncIterator[Upload]:
    """Read the body of a request; its bytes count as held until the end of the block.

    They count from the beginning if their number is known: otherwise many bodies that are sent at the same time would
    together exceed the limit, and none of them would be finished.

    Raises:
        Problem: 400 (no image, a damaged form), 408 (too slow), 413, 415 (neither a form nor a body), 429.
        ClientDisconnect: the client has gone.
    """
    held = declared_bytes(request.headers.get("content-length"), settings.max_body_bytes) or 0
    admission.hold_bytes(held)

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal held
        count = 0
        async for chunk in request.stream():
            count += len(chunk)
            if count > settings.max_body_bytes:
                raise _too_large(settings.max_body_bytes)
            if count > held:
                admission.hold_bytes(count - held)
                held = count
            yield chunk

    try:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        reading = _form(request, chunks(), settings.max_body_bytes) if kind.startswith("multipart/") else _raw(chunks())
        try:
            upload = await asyncio.wait_for(reading, settings.read_timeout)
        except asyncio.TimeoutError:
            raise Problem(
                408, "slow-body", f"the body did not arrive within {settings.read_timeout:g} s; send it faster"
            ) from None
        if not upload.data:
            raise Problem(400, "empty-body", "the body is empty; send the bytes of an image file")
        yield upload
    finally:
        admission.release_bytes(held)


async def _raw(chunks: AsyncIterator[bytes]) -> Upload:
    return Upload(b"".join([chunk async for chunk in chunks]))


async def _form(request: Request, chunks: AsyncIterator[bytes], most: int) -> Upload:
    parser = MultiPartParser(
        request.headers,
        chunks,  # type: ignore[arg-type]  # it asks for a generator, and iterates only
        max_files=1,
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
        files = [form.get(name) for name in _FIELDS]
        file = next((one for one in files if isinstance(one, UploadFile)), None)
        if file is None:
            raise Problem(400, "no-image", "the form has no file named image; send one part: name=image and a filename")
        return Upload(await file.read(), _plain_name(file.filename or ""))
    finally:
        await form.close()


def _plain_name(name: str) -> str:
    """Return the last part of a file's name, printable and short."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(one for one in last if one.isprintable())[-_MAX_NAME:] or "image"


def _too_large(most: int) -> Problem:
    return Problem(413, "body-too-large", f"the body has more than {most:,} bytes, the limit of this server")
