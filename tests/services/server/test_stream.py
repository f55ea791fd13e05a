"""`WS /v1/stream`: the depth of the newest frame, who may connect, and what a connection may hold."""

from __future__ import annotations

import io
import json
import time
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from depth_anything_3.services.server.app import create_app
from depth_anything_3.services.server.settings import ServerSettings
from support.images import jpeg
from support.serving import depth_of, grey_engine, grey_jpeg, serve_on_socket

TOKEN = "0123456789abcdef-token"
AT = "ws://localhost:8008"
URL = f"{AT}/v1/stream?process_res=56&format=float32"


@pytest.fixture
def engine():
    engine = grey_engine()
    yield engine
    engine.network.gate.set()


@pytest.fixture
def visit(engine):
    """Connects to a server with these settings."""
    clients = []

    def start(**settings):
        client = TestClient(create_app(engine, ServerSettings(**settings)), base_url="http://localhost:8008")
        client.__enter__()
        clients.append(client)
        client.server = client.app.state.server
        until(lambda: client.server.why_not_ready() is None)
        return client

    yield start
    engine.network.gate.set()
    for one in clients:
        one.__exit__(None, None, None)


@contextmanager
def connected(client, url, **more):
    """A connection; starlette's client cancels an endpoint that ends later than the connection, and raises that."""
    session = client.websocket_connect(url, **more)
    socket = session.__enter__()
    try:
        yield socket
    finally:
        with suppress(CancelledError):
            session.__exit__(None, None, None)


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def answer(socket):
    """The message about a frame, and its depth."""
    about = json.loads(socket.receive_text())
    return (about, socket.receive_bytes()) if "bytes" in about else (about, None)


def closing(socket):
    """Code of the close, after the problem that comes before it, if one does."""
    problem = None
    try:
        while True:
            problem = socket.receive_json()["error"]["type"].removeprefix("urn:da3:error:")
    except WebSocketDisconnect as closed:
        return closed.code, problem


def test_each_frame_gets_its_depth_in_both_formats(visit):
    client = visit()
    with connected(client, URL) as socket:
        for number, level in enumerate((30, 200)):
            socket.send_bytes(grey_jpeg(level))
            about, content = answer(socket)
            assert (about["frame"], about["dropped"], about["bytes"]) == (number, 0, len(content))
            assert (about["unit"], about["height"], about["width"]) == ("relative", 42, 56)
            depth = np.frombuffer(content, "<f4").reshape(42, 56)
            np.testing.assert_allclose(depth, depth_of(level), atol=0.02)
            assert about["min"] == depth.min()
            assert about["total_ms"] >= about["network_ms"] >= 0
    with connected(client, f"{AT}/v1/stream?process_res=56") as socket:
        socket.send_bytes(grey_jpeg(30))
        about, content = answer(socket)
        values = np.asarray(Image.open(io.BytesIO(content)))
        np.testing.assert_allclose(values * about["scale"], depth_of(30), atol=0.02)
    until(lambda: not client.server.admission.requests)
    assert client.server.admission.bytes == 0


def test_the_newest_frame_wins_and_drops_are_counted(visit, engine):
    client = visit()
    with connected(client, URL) as socket:
        engine.network.gate.clear()
        socket.send_bytes(grey_jpeg(0))
        until(lambda: client.server.admission.requests == 1)
        for level in range(10, 60, 10):
            socket.send_bytes(grey_jpeg(level))
        until(lambda: client.server.admission.bytes == len(grey_jpeg(50)))  # only the newest is held
        engine.network.gate.set()
        first, second = answer(socket), answer(socket)
        assert first[0]["frame"] == 0
        assert (second[0]["frame"], second[0]["received"], second[0]["dropped"]) == (5, 6, 4)
        np.testing.assert_allclose(np.frombuffer(second[1], "<f4"), depth_of(50), atol=0.02)


def test_a_bad_frame_costs_only_itself(visit):
    with connected(visit(max_pixels=10_000), URL) as socket:
        for data, name in ((b"no image", "not-an-image"), (jpeg(400, 300), "too-many-pixels"), (b"", "not-an-image")):
            socket.send_bytes(data)
            assert answer(socket)[0]["error"]["type"] == f"urn:da3:error:{name}"
        socket.send_bytes(grey_jpeg(9))
        assert answer(socket)[0]["frame"] == 3


@pytest.mark.parametrize(
    ("url", "headers", "settings", "expected"),
    [
        (URL, {"Host": "evil.example"}, {}, 1008),
        (URL, {"Origin": "https://evil.example"}, {}, 1008),
        (URL, {"Authorization": "Bearer wrong"}, {"token": TOKEN}, 1008),
        (f"{AT}/v1/other", {}, {"token": TOKEN}, 1000),
    ],
)
def test_strangers_are_refused_before_the_connection_opens(visit, url, headers, settings, expected):
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        connected(visit(**settings), url, headers=headers),
    ):
        pass
    assert refused.value.code == expected


def test_the_token_is_a_header_or_the_first_message(visit):
    client = visit(token=TOKEN)
    with connected(client, URL, headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
        socket.send_bytes(grey_jpeg(1))
        assert answer(socket)[0]["frame"] == 0
    with connected(client, URL, headers={"Origin": "http://localhost:8008"}) as socket:
        socket.send_text(json.dumps({"token": TOKEN}))
        socket.send_bytes(grey_jpeg(1))
        assert answer(socket)[0]["frame"] == 0
    for wrong in ('{"token": "wrong"}', "[", '{"token": 1}', '"token"', "x" * 5000):
        with connected(client, URL) as socket:
            socket.send_text(wrong)
            assert closing(socket) == (1008, "no-token")
    with connected(client, URL) as socket:
        socket.send_bytes(grey_jpeg(1))
        assert closing(socket) == (1008, "no-token")


def test_connections_are_bounded_in_number_size_and_idle_time(visit):
    client = visit(max_streams=1, max_frame_bytes=1000, stream_idle=0.2)
    with connected(client, URL) as first:
        first.send_bytes(grey_jpeg(1))
        answer(first)
        with connected(client, URL) as second:
            assert closing(second) == (1013, "busy")
        assert closing(first) == (1001, None)
    for message, code in ((bytes(1001), 1009), ("text", 1003)):
        with connected(client, URL) as socket:
            (socket.send_bytes if isinstance(message, bytes) else socket.send_text)(message)
            assert closing(socket) == (code, None)
    for query in ("format=gif", "process_res=big", "fidelity=best", "focal=x"):
        with connected(client, f"{AT}/v1/stream?{query}") as socket:
            assert closing(socket) == (1008, "invalid-request")


def test_a_server_that_stops_ends_its_streams(visit):
    client = visit()
    with connected(client, URL) as socket:
        client.server.drain()
        socket.send_bytes(grey_jpeg(1))
        assert closing(socket) == (1012, "draining")
    with connected(client, URL) as socket:
        assert closing(socket) == (1013, "draining")


def test_a_client_on_a_socket_gets_depth_and_is_closed_with_a_frame_that_is_too_large():
    with serve_on_socket(grey_engine(), max_frame_bytes=1000) as address:
        url = address.replace("http:", "ws:") + "/v1/stream?process_res=56&format=float32"
        with connect(url, proxy=None) as socket:
            socket.send(grey_jpeg(70))
            about, content = json.loads(socket.recv(20)), socket.recv(20)
            socket.send(bytes(1001))
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(20)
        with pytest.raises(InvalidStatus) as refused:
            connect(url, origin="https://evil.example", proxy=None)
    np.testing.assert_allclose(np.frombuffer(content, "<f4"), depth_of(70), atol=0.02)
    assert (about["frame"], closed.value.rcvd.code, refused.value.response.status_code) == (0, 1009, 403)
