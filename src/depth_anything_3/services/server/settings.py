"""Settings of the server as one validated, frozen record."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.choices import Executor
from depth_anything_3.inputs.limits import MAX_PIXELS
from depth_anything_3.runtime.option_values import positive_int

__all__ = ["MIN_TOKEN_LENGTH", "ServerSettings", "is_loopback"]

MIN_TOKEN_LENGTH = 16
"""Shorter tokens are refused: they can be guessed."""

_NOT_ZERO = ("read_timeout", "job_lifetime", "stream_idle")

_SERVER, _LIMITS, _BATCHES = "Server", "Limits", "Performance"


def _field(help: str, panel: str) -> dict[str, str]:
    return {"help": help, "panel": panel}


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """All settings of the server. The command's flags are made from its fields.

    Attributes:
        token: clients must send it as `Authorization: Bearer TOKEN`; None: anyone who can connect may ask.
        upstream: whether upstream's routes are there too.
        allow_paths: folders that requests to upstream's routes may name files in.

    Raises:
        InvalidInputError: a value is not accepted.
    """

    host: str = field(
        default="127.0.0.1",
        metadata=_field("Address to listen on. Others than this machine's loopback demand a token.", _SERVER),
    )
    port: int = field(default=8008, metadata=_field("Port to listen on; 0: any free one.", _SERVER))
    token: str | None = None
    allow_hosts: str = field(
        default="",
        metadata=_field("Further names that requests may use for this server, joined with commas.", _SERVER),
    )
    allow_origins: str = field(
        default="",
        metadata=_field(
            "Further origins whose pages may send requests, such as https://example.org, joined with commas.", _SERVER
        ),
    )
    max_body_bytes: int = field(
        default=64 << 20, metadata=_field("Reject requests with a body of more bytes (413).", _LIMITS)
    )
    max_pixels: int = field(
        default=MAX_PIXELS, metadata=_field("Reject images with more pixels, before they are decoded (413).", _LIMITS)
    )
    max_network_pixels: int = field(
        default=1_500_000, metadata=_field("Reject requests for a larger input of the network (422).", _LIMITS)
    )
    max_output_pixels: int = field(
        default=50_000_000,
        metadata=_field("Reject requests for larger results at the size of the image (422).", _LIMITS),
    )
    max_requests: int = field(
        default=64, metadata=_field("Maximum number of accepted requests at a time; others get 429.", _LIMITS)
    )
    max_queue_pixels: int = field(
        default=1_000_000_000, metadata=_field("Maximum number of pixels of their images together.", _LIMITS)
    )
    max_queue_bytes: int = field(
        default=256 << 20, metadata=_field("Maximum number of bytes of their bodies together.", _LIMITS)
    )
    deadline: float = field(
        default=60.0,
        metadata=_field("Seconds that a request may take in all; late ones get 504. 0: no limit.", _LIMITS),
    )
    read_timeout: float = field(
        default=30.0, metadata=_field("Seconds that a client may take to send a header, and a body (408).", _LIMITS)
    )
    drain: float = field(
        default=30.0, metadata=_field("Seconds to finish accepted requests after SIGTERM or Ctrl-C.", _SERVER)
    )
    max_views: int = field(default=64, metadata=_field("Reject scenes of more views (413).", _LIMITS))
    max_scene_pixels: int = field(
        default=16_000_000,
        metadata=_field("Reject scenes whose views are a larger input of the network together (422).", _LIMITS),
    )
    max_jobs: int = field(
        default=32, metadata=_field("Maximum number of scenes that wait or whose results are kept (429).", _LIMITS)
    )
    max_job_bytes: int = field(
        default=2 << 30, metadata=_field("Accept no scene while kept results have this many bytes (429).", _LIMITS)
    )
    job_lifetime: float = field(
        default=600.0, metadata=_field("Seconds that the results of a scene are kept.", _LIMITS)
    )
    max_streams: int = field(
        default=8, metadata=_field("Maximum number of open WebSockets; others are refused.", _LIMITS)
    )
    max_frame_bytes: int = field(
        default=8 << 20, metadata=_field("Close a WebSocket that sends a frame of more bytes.", _LIMITS)
    )
    stream_idle: float = field(
        default=30.0, metadata=_field("Seconds without a frame after which a WebSocket is closed.", _LIMITS)
    )
    executor: Executor = field(
        default=Executor.THREAD,
        metadata=_field("Decode in threads or in processes, which an image may kill without harm to others.", _BATCHES),
    )
    batch_size: str = field(
        default="auto",
        metadata=_field(
            "Maximum number of images of one size computed together; auto: on CUDA what memory holds, else 1.", _BATCHES
        ),
    )
    batch_wait: float = field(
        default=2.0, metadata=_field("Milliseconds to wait for more images where batches are larger than 1.", _BATCHES)
    )

    upstream: bool = False
    allow_paths: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "executor", Executor(self.executor))
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name.startswith("max_"):
                positive_int(one.name, value)
            elif one.type == "float" and not 0 <= value < 1e6:
                raise InvalidInputError(f"{one.name}={value!r}: give a number, 0 or more")
            elif one.name in _NOT_ZERO and not value:
                raise InvalidInputError(f"{one.name}={value!r}: give a number of seconds above 0")
        if not 0 <= self.port <= 65535:
            raise InvalidInputError(f"port={self.port!r}: give a port from 0 to 65535")
        if self.token is not None and (len(self.token) < MIN_TOKEN_LENGTH or not _is_plain(self.token)):
            raise InvalidInputError(
                f"the token has {len(self.token)} characters; give {MIN_TOKEN_LENGTH} or more, of ASCII letters, "
                "digits and punctuation, such as the output of: openssl rand -hex 24"
            )
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")):
                raise InvalidInputError(f"allow_origins={origin!r}: give scheme and host, such as https://example.org")
        _ = self.batch_limit

    @property
    def hosts(self) -> frozenset[str]:
        """The names in `allow_hosts`, in lower case."""
        return frozenset(_words(self.allow_hosts.lower()))

    @property
    def origins(self) -> frozenset[str]:
        """The origins in `allow_origins`, without a slash at the end, in lower case."""
        return frozenset(one.rstrip("/") for one in _words(self.allow_origins.lower()))

    @property
    def batch_limit(self) -> int | Literal["auto"]:
        """The batch size as a number, or "auto".

        Raises:
            InvalidInputError: it is neither.
        """
        if self.batch_size == "auto":
            return "auto"
        number = int(self.batch_size) if self.batch_size.isdecimal() else 0
        return positive_int("batch_size", number, hint="give a whole number, 1 or more, or 'auto'")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host, without port and brackets, is a loopback address or `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _words(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
