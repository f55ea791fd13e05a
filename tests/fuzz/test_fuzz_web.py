"""The live page survives requests that no browser sends."""

from __future__ import annotations

import random
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

import numpy as np

from depth_anything_3.services.live_page.viewer import WebViewer

_GOOD = b"GET /stats.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_BAD = (
    b"",
    b"\0" * 200,
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET //[:: HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"POST /stats.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nx",
    b"GET /stats.json HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
)


def answer(url: str, request: bytes) -> bytes:
    """What came back, after which the other side has closed; empty if nothing did."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=60) as client:
        try:
            client.sendall(request)
            if request != _GOOD:  # it may be incomplete; the server ends what is half closed
                client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65_536), b""))
        except (BrokenPipeError, ConnectionResetError):  # it had read enough
            return b""


def test_any_request_leaves_the_page_running_and_leaks_nothing():
    viewer = WebViewer(("127.0.0.1", 0), "test", lambda: {"fps": "30"})
    viewer.show(np.zeros((16, 32, 3), np.uint8))
    rng, asked = random.Random(1), list(_BAD)
    for _ in range(100):
        changed = bytearray(_GOOD)
        for _ in range(rng.randint(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        asked.append(bytes(changed))
    try:
        for request in asked:
            got = answer(viewer.url, request)
            assert b"root:" not in got
            assert b"Traceback" not in got
        assert answer(viewer.url, _GOOD).endswith(b'{"fps":"30"}')
    finally:
        viewer.close()


def test_stalled_clients_do_not_delay_others_or_shutdown():
    viewer = WebViewer(("127.0.0.1", 0), "test", lambda: {"fps": "30"})
    at = urlsplit(viewer.url)
    silent = [socket.create_connection((at.hostname, at.port), timeout=60) for _ in range(20)]
    try:
        for number, client in enumerate(silent):
            client.sendall(_GOOD[: 3 * number])
        with urllib.request.urlopen(viewer.url + "stats.json", timeout=60) as response:
            assert response.read() == b'{"fps":"30"}'
        closing = threading.Thread(target=viewer.close)
        closing.start()
        closing.join(60)
        assert not closing.is_alive()
    finally:
        for client in silent:
            client.close()
