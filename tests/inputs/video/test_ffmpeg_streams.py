"""Streams sent by ffmpeg over HTTP and RTSP are read and reconnected."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from depth_anything_3.errors import VideoReadError
from depth_anything_3.inputs.video import Frame, FrameSource, open_source
from depth_anything_3.inputs.video import reconnect as module
from depth_anything_3.inputs.video.reconnect import ReconnectingSource

FFMPEG = shutil.which("ffmpeg")
SIZE_HW = (48, 64)
PATIENCE = 60.0  # seconds
DARK, LIGHT = 40, 200

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="no ffmpeg here")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(module, "_MAX_PAUSE", 0.05)


@contextlib.contextmanager
def ffmpeg(level: int, *output: str) -> Iterator[subprocess.Popen]:
    """Sends 25 frames a second of one grey level, until the block ends."""
    scene = f"color=c=0x{level:02x}{level:02x}{level:02x}:size={SIZE_HW[1]}x{SIZE_HW[0]}:rate=25"
    words = [str(FFMPEG), "-loglevel", "error", "-re", "-f", "lavfi", "-i", scene, "-g", "5", "-bf", "0", *output]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def over_http(level: int, port: int):
    """The server is ffmpeg: it waits for one reader."""
    return ffmpeg(level, "-c:v", "mpeg2video", "-f", "mpegts", "-listen", "1", f"http://127.0.0.1:{port}/live.ts")


@contextlib.contextmanager
def over_rtsp(level: int, port: int) -> Iterator[None]:
    """ffmpeg sends RTP, to the smallest of RTSP servers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets, socket.socket() as listening:
        packets.bind(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        target = f"rtp://127.0.0.1:{packets.getsockname()[1]}"
        with ffmpeg(level, "-c:v", "mpeg2video", "-f", "rtp", target):
            reader = threading.Thread(target=serve_rtsp, args=(listening, packets), daemon=True)
            reader.start()
            yield
            for one in (listening, packets):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
    reader.join(PATIENCE)


def serve_rtsp(listening: socket.socket, packets: socket.socket) -> None:
    """One reader, RTP within its connection (RFC 2326, section 10.12), until the sockets are closed."""
    sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 32\r\na=control:track1\r\n"
    answers = {
        "OPTIONS": "Public: DESCRIBE, SETUP, PLAY\r\n\r\n",
        "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}",
        "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n",
        "PLAY": "Session: 1\r\n\r\n",
    }
    with contextlib.suppress(OSError):
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as requests:
            method = ""
            while method != "PLAY":
                method, headers = requests.readline().decode().split(" ")[0], {}
                while line := requests.readline().decode().strip():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{answers[method]}".encode())
            while packet := packets.recv(65_536):
                connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)


def opened_when_there(url: str) -> ReconnectingSource:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ReconnectingSource(lambda: open_source(url, on_error="skip"), PATIENCE)
        except VideoReadError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def take(frames: Iterator[Frame], level: int, wanted: int = 5) -> list[Frame]:
    """Frames until so many have this level."""
    taken = []
    for frame in frames:
        assert frame.image.shape == (*SIZE_HW, 3)
        taken.append(frame)
        if sum(abs(float(one.image.mean()) - level) < 12 for one in taken) == wanted:
            return taken
    raise AssertionError("it ended")


@pytest.mark.parametrize(("scheme", "sent"), [("http", over_http), ("rtsp", over_rtsp)])
def test_an_ffmpeg_stream_is_reconnected_after_it_drops(scheme, sent, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source: FrameSource
    with contextlib.ExitStack() as first:
        first.enter_context(sent(DARK, port))
        source = opened_when_there(f"{scheme}://127.0.0.1:{port}/live.ts")
        frames = iter(source)
        taken = take(frames, DARK)
        assert source.info.live
        first.close()  # cut off
    with source, sent(LIGHT, port):  # restored, with another image
        taken += take(frames, LIGHT)
    assert source.reconnections >= 1
    assert (np.diff([frame.time for frame in taken]) > 0).all()
    assert [frame.index for frame in taken] == list(range(len(taken)))
    assert "lost" in caplog.text
    assert "reconnected after" in caplog.text
