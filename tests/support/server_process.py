"""A server in a process of its own, with a `GreyNetwork`, and plain connections to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import torch

__all__ = ["ServerProcess", "head", "server_process"]

_GAUGES = ("requests_in_progress", "requests_waiting", "held_pixels", "held_bytes")
_PATIENCE = 60.0  # seconds, on a busy machine


@dataclass
class ServerProcess:
    """A server that runs."""

    process: subprocess.Popen[str]
    client: httpx.Client

    @property
    def port(self) -> int:
        port = self.client.base_url.port
        assert port is not None
        return port

    def connect(self, sent: bytes = b"") -> socket.socket:
        """Open a connection and send some bytes."""
        one = socket.create_connection(("127.0.0.1", self.port))
        one.settimeout(_PATIENCE)
        one.sendall(sent)
        return one

    def exchange(self, sent: bytes) -> bytes:
        """Send bytes on a connection, and return all that is answered until the server closes it."""
        with self.connect() as one:
            try:
                one.sendall(sent)
                return b"".join(iter(lambda: one.recv(1 << 16), b""))
            except ConnectionError:  # it answered, and closed before it had read all
                return b""

    def status(self, sent: bytes) -> int | None:
        """Status of what is answered to these bytes; None: nothing."""
        words = self.exchange(sent).split(maxsplit=2)
        return int(words[1]) if words else None

    def ask(self, image: bytes, **more: object) -> httpx.Response:
        """Ask for the depth of an image."""
        return self.client.post("/v1/depth", content=image, **{"params": {"process_res": 56}, **more})  # type: ignore[arg-type]

    def gauges(self) -> dict[str, int]:
        """What the server holds."""
        lines = dict(line.rsplit(" ", 1) for line in self.client.get("/metrics").text.splitlines() if line[0] != "#")
        return {name: int(float(lines[f"da3_{name}"])) for name in _GAUGES}

    def images(self) -> int:
        """Number of images computed so far."""
        text = self.client.get("/metrics").text
        return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith("da3_images_total{"))

    def until(self, condition: object) -> None:
        """Wait until `condition()` is true."""
        end = time.monotonic() + _PATIENCE
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < end, self.gauges()
            time.sleep(0.01)

    def holds_nothing(self) -> bool:
        """Whether no request is held."""
        return not any(self.gauges().values())

    def open_files(self) -> int:
        """Number of its open files and sockets."""
        return psutil.Process(self.process.pid).num_fds()

    def stop(self) -> int:
        """End it by SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE)


def head(length: object, *lines: str, path: str = "/v1/depth?process_res=56", method: str = "POST") -> bytes:
    """Bytes of a request's header, with this Content-Length."""
    given = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines]
    if length is not None:
        given.append(f"Content-Length: {length}")
    return ("\r\n".join(given) + "\r\n\r\n").encode()


@contextmanager
def server_process(seconds: float = 0.0, short_of_memory: bool = False, **settings: object) -> Iterator[ServerProcess]:
    """Run a server.

    Args:
        seconds: that the network takes for an image.
        short_of_memory: for batches with a black image.
        settings: of `ServerSettings`.
    """
    words = [sys.executable, __file__, json.dumps([seconds, short_of_memory, {"port": 0, **settings}])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as one:
        assert one.stdout is not None
        try:
            address = one.stdout.readline().strip()
            headers = {"Authorization": f"Bearer {settings['token']}"} if "token" in settings else {}
            with httpx.Client(base_url=address, timeout=_PATIENCE, verify=False, headers=headers) as client:
                yield ServerProcess(one, client)
        finally:
            one.kill()


def _main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from depth_anything_3.services.server.run import serve
    from depth_anything_3.services.server.settings import ServerSettings
    from support.little_memory import LittleMemory
    from support.serving import DARK, grey_engine

    seconds, short_of_memory, settings = json.loads(sys.argv[1])
    engine, memory = grey_engine(), LittleMemory(times=sys.maxsize)

    def fault(x: torch.Tensor) -> None:
        time.sleep(seconds * len(x))
        if short_of_memory and (x.float().mean(dim=(1, 2, 3, 4)) < DARK).any():
            memory.ask(len(x))

    engine.network.fault = fault  # type: ignore[assignment]
    number, is_complete = serve(engine, ServerSettings(**settings), print)
    sys.exit(128 + number if is_complete else 1)


if __name__ == "__main__":
    _main()
