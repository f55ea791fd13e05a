"""The live page: what a browser gets, who may connect, and slow viewers."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.services.live_page.viewer import WebViewer
from support.chromium import CHROMIUM, run_chromium

GREEN, RED = (20, 200, 40), (210, 30, 30)


def draw_image(left=GREEN, right=RED, height=140, half=196):
    both = np.empty((height, 2 * half, 3), np.uint8)
    both[:, :half], both[:, half:] = left, right
    return both


@pytest.fixture
def viewer():
    viewer = WebViewer(("127.0.0.1", 0), "test <camera>", lambda: {"fps": 29.9, "dropped": 7, "latency_p50_ms": None})
    yield viewer
    viewer.close()


def ask(viewer, path, host=None):
    port = int(viewer.url.rsplit(":", 1)[1].strip("/"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}", "Connection": "close"})
    return connection.getresponse()


def frames_of(response, count):
    """JPEGs of a motion JPEG stream, decoded."""
    assert response.readline().strip() == b"--frame"
    for _ in range(count):
        headers = http.client.parse_headers(response)
        yield np.asarray(Image.open(io.BytesIO(response.read(int(headers["Content-Length"])))))
        assert response.readline() == b"\r\n"
        assert response.readline().strip() == b"--frame"


def test_a_browser_gets_the_page_the_numbers_and_the_newest_frame(viewer):
    viewer.show(draw_image())
    page = ask(viewer, "/").read().decode()
    assert "test &lt;camera&gt;" in page
    assert not re.search(r"(src|href)=\"?https?:", page)  # nothing from elsewhere
    assert json.load(ask(viewer, "/stats.json")) == {"fps": 29.9, "dropped": 7, "latency_p50_ms": None}
    snapshot = np.asarray(Image.open(ask(viewer, "/snapshot.jpg")))
    assert np.abs(snapshot.astype(int) - draw_image()).mean() < 3
    assert ask(viewer, "/etc/passwd").status == 404


def test_the_stream_yields_images_as_they_come(viewer):
    response = ask(viewer, "/stream.mjpg")
    assert response.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=frame"
    stream = frames_of(response, 3)
    for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250)):
        viewer.show(draw_image(colour, colour))
        assert np.abs(next(stream).astype(int) - colour).mean() < 4


def test_a_slow_viewer_gets_the_newest_frame_and_delays_no_one(viewer):
    port = int(viewer.url.rsplit(":", 1)[1].strip("/"))
    slow = socket.create_connection(("127.0.0.1", port))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(f"GET /stream.mjpg HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    quick = frames_of(ask(viewer, "/stream.mjpg"), 200)
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)  # JPEGs of 400 kB that fill buffers
    for step in range(30):
        viewer.show(np.roll(noise, step))
        next(quick)
    slow.close()


def test_a_page_of_this_machine_is_for_this_machine(viewer):
    assert ask(viewer, "/", host="evil.example").status == 403
    assert ask(viewer, "/stream.mjpg", host="evil.example:80").status == 403
    assert ask(viewer, "/", host="localhost:80").status == 200
    assert ask(viewer, "/stats.json").getheader("Cross-Origin-Resource-Policy") == "same-origin"
    assert viewer.is_local


def test_closing_ends_the_streams_promptly(viewer):
    response = ask(viewer, "/stream.mjpg")
    viewer.show(draw_image())
    next(frames_of(response, 1))
    began = time.monotonic()
    viewer.close()
    response.read()
    assert time.monotonic() - began < 3
    viewer.close()


def test_a_port_in_use_is_reported(viewer):
    port = int(viewer.url.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(UnsupportedError, match=f"cannot serve at 127.0.0.1:{port}"):
        WebViewer(("127.0.0.1", port), "second", dict)


def test_nothing_is_encoded_without_viewers(viewer, monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "imencode", None)
    for _ in range(3):
        viewer.show(draw_image())


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_real_browser_shows_both_halves(viewer, tmp_path):
    ended = threading.Event()

    def camera():
        while not ended.wait(0.05):
            viewer.show(draw_image())

    shooting = threading.Thread(target=camera, daemon=True)
    shooting.start()
    shot = tmp_path / "page.png"
    options = ("--window-size=800,600", "--virtual-time-budget=3000", f"--screenshot={shot}")
    try:
        run_chromium(viewer.url, tmp_path, *options)
    finally:
        ended.set()
        shooting.join()
    seen = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    width = seen.shape[1]
    for centre, colour in ((width // 4, GREEN), (3 * width // 4, RED)):
        patch = seen[60:160, centre - 40 : centre + 40]
        assert np.abs(patch - colour).mean() < 6
    below = seen[300:]
    assert (below.min(axis=2) > 180).sum() > 100  # the numbers, in light letters
