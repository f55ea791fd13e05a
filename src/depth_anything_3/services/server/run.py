"""Run the server until it is told to stop, and finish what it has accepted."""

from __future__ import annotations

import importlib.util
import logging
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inference.engine import Engine
from depth_anything_3.runtime.packages import install_hint
from depth_anything_3.services.server.connections import SlowConnections
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["address_of", "check_installed", "check_settings", "listen", "serve"]

logger = logging.getLogger(__name__)

_PACKAGES = ("fastapi", "uvicorn", "websockets", "python_multipart", "prometheus_client")
_MAX_HEADER_BYTES = 16 << 10
_KEEP_ALIVE = 10  # seconds
_MORE_CONNECTIONS = 700  # than accepted requests; fewer in all than the usual limit of 1,024 open files
_BACKLOG = 256
_MAX_FRAMES = 4  # that wait in a WebSocket
_TICKS_A_CHECK = 5  # of a tenth of a second


def check_installed() -> None:
    """Check that what the server needs is installed.

    Raises:
        UnsupportedError: a package is missing.
    """
    missing = [one for one in _PACKAGES if importlib.util.find_spec(one) is None]
    if missing:
        raise UnsupportedError(f"the server needs {', '.join(missing)}; {install_hint('serve')}")


def check_settings(settings: ServerSettings, *, without_token: bool = False) -> None:
    """Check that only this machine can connect, or that a token protects the server.

    Args:
        settings: the settings.
        without_token: the user wants no token.

    Raises:
        InvalidInputError: it would be open to others, or a token is given and not wanted.
    """
    if without_token and settings.token is not None:
        raise InvalidInputError("token and insecure_no_token contradict each other; omit one of them")
    if not settings.is_local and settings.token is None and not without_token:
        raise InvalidInputError(
            f"host={settings.host!r}: others than this machine could connect; pass a token, or insecure_no_token=True "
            "to let anyone use the server"
        )


def serve(engine: Engine, settings: ServerSettings, on_ready: Callable[[str], None]) -> tuple[int, bool]:
    """Serve until SIGTERM or Ctrl-C. The main thread must call it, which receives signals.

    After the signal no request is accepted any more (503), and what was accepted is finished, for at most
    `settings.drain` seconds. A second signal ends it at once.

    Args:
        engine: the network.
        settings: the settings.
        on_ready: called with the server's address once it can be asked.

    Returns:
        The number of the signal, and whether every accepted request was finished.

    Raises:
        UnsupportedError: a package is missing, or the address cannot be used.
    """
    check_installed()
    import uvicorn

    from depth_anything_3.services.server.app import create_app

    listening = listen(settings.host, settings.port)
    settings = replace(settings, port=listening.getsockname()[1])
    app = create_app(engine, settings)
    state = app.state.server
    slow = SlowConnections(settings.read_timeout)

    class DrainingServer(uvicorn.Server):
        """Goes on listening while accepted requests are finished: `/readyz` then says why new ones are refused."""

        signal_number = 0
        drain_until = 0.0
        has_told = False
        is_complete = True

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.signal_number:
                self.should_exit = self.force_exit = True
            self.signal_number = sig
            self.drain_until = time.monotonic() + settings.drain
            state.drain()

        async def on_tick(self, counter: int) -> bool:
            if self.started and not self.has_told and state.why_not_ready() is None:
                self.has_told = True
                on_ready(address_of(listening))
            if self.signal_number and not self.should_exit:
                late = time.monotonic() > self.drain_until
                self.should_exit = late or not state.admission.requests
                if late and state.admission.requests:
                    self.is_complete = False
                    state.scheduler.abandon()
            if counter % _TICKS_A_CHECK == 0:
                slow.close_late(self.server_state.connections)
            return await super().on_tick(counter)

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        lifespan="on",
        http="h11",  # the limit of headers is its own; others that happen to be installed have none
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=2,
        limit_concurrency=settings.max_requests + _MORE_CONNECTIONS,
        proxy_headers=False,
        ws="websockets-sansio",  # `websockets` itself calls the other one legacy
        ws_max_size=settings.max_frame_bytes,
        ws_max_queue=_MAX_FRAMES,
        ws_per_message_deflate=False,  # images are compressed
    )
    server = DrainingServer(config)
    server.run(sockets=[listening])
    return server.signal_number or signal.SIGTERM, server.is_complete and not server.force_exit


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0: any free one.

    Raises:
        UnsupportedError: the port is in use, or the address is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        raise UnsupportedError(
            f"cannot serve at {host}:{port} ({getattr(error, 'strerror', None) or error}); choose another port, or 0 "
            "for any free one"
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the URL for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (for the browser)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
