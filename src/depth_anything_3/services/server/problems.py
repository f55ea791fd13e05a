"""Errors of requests as problem+json (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from depth_anything_3.errors import (
    DA3Error,
    DeviceError,
    DeviceMemoryError,
    ExportError,
    ImageReadError,
    ImageSizeError,
    InvalidInputError,
)

__all__ = ["PROBLEM_TYPE", "Problem", "busy", "draining", "late", "problem_of"]

PROBLEM_TYPE = "application/problem+json"

_INTERNAL = "The server failed to answer this request; its log has the reason."


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        name: last part of its `type`, `urn:da3:error:NAME`; stable, for programs.
        detail: what was given, what is accepted, what to do next; without paths of this machine.
        error: class of `errors.py` that it stands for, if any.
        headers: further headers.
    """

    def __init__(
        self, status: int, name: str, detail: str, error: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail, self.error = status, name, detail, error
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the JSON of the answer."""
        content = {
            "type": f"urn:da3:error:{self.name}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.error is not None:
            content["error"] = self.error
        return json.dumps(content).encode()


def busy(retry_after: int, reason: str) -> Problem:
    """Make the answer to a request for which there is no room now."""
    detail = f"{reason}; try again in {retry_after} s"
    return Problem(429, "busy", detail, headers={"Retry-After": str(retry_after)})


def draining() -> Problem:
    """Make the answer to a request that came after SIGTERM."""
    detail = "this server is about to stop, and takes no more requests; send it to another one, or later"
    return Problem(503, "draining", detail, headers={"Retry-After": "10"})


def late(seconds: float) -> Problem:
    """Make the answer to a request whose deadline has passed."""
    return Problem(504, "deadline", f"no result within {seconds:g} s, the deadline of this server; try again later")


def problem_of(error: BaseException, *, at_header: bool = False) -> Problem:
    """Find the answer for an error.

    Args:
        error: any error; only the text of a `DA3Error` reaches the client.
        at_header: whether the image was not even recognised as one.
    """
    if isinstance(error, Problem):
        return error
    if not isinstance(error, DA3Error) or isinstance(error, ExportError):
        return Problem(500, "internal", _INTERNAL)
    name, detail = type(error).__name__, str(error)
    if isinstance(error, DeviceMemoryError):
        return Problem(503, "out-of-memory", detail, name)
    if isinstance(error, DeviceError):
        return Problem(503, "device-failed", "The device of this server failed; it must be restarted.", name)
    if isinstance(error, ImageSizeError):
        return Problem(422, "image-size", detail, name)
    if isinstance(error, ImageReadError):
        return Problem(415, "not-an-image", detail, name) if at_header else Problem(422, "damaged-image", detail, name)
    if isinstance(error, InvalidInputError):
        return Problem(422, "invalid-request", detail, name)
    return Problem(500, "internal", _INTERNAL, name)
