"""The server on a real socket: signals, early refusals, and the command."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.services.server.run import serve
from depth_anything_3.services.server.settings import ServerSettings
from support.images import jpeg
from support.serving import grey_engine, grey_jpeg


class Visitor(httpx.Client):
    """A client, in another thread than the server, which `stop` ends."""

    is_stopped = False

    def stop(self):
        """Do what SIGTERM does. A real one would end pytest if the server had ended already."""
        self.is_stopped = True
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler), "the server has ended, or has not begun"
        handler(signal.SIGTERM, None)

    def ask(self, image, **more):
        return self.post("/v1/depth", content=image, params={"process_res": 56}, **more)

    def in_progress(self):
        text = self.get("/metrics").text
        return int(float(text.split("\nda3_requests_in_progress ")[1].split("\n")[0]))


@pytest.fixture
def served():
    """Runs `serve` here, in the main thread, and elsewhere `story(visitor)`, after which `stop` ends the server."""

    def run(engine, story, **settings):
        ready = threading.Event()
        addresses = []

        def on_ready(address):
            addresses.append(address)
            ready.set()

        def tell():
            if not ready.wait(60):
                signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
                raise AssertionError("the server is not ready")
            with Visitor(base_url=addresses[0], timeout=30, verify=False) as visitor:
                try:
                    return story(visitor)
                finally:
                    if not visitor.is_stopped:
                        visitor.stop()

        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(tell)
            ended = serve(engine, ServerSettings(port=0, **settings), on_ready)
            return ended, told.result(30)

    before = signal.getsignal(signal.SIGTERM)
    yield run
    assert signal.getsignal(signal.SIGTERM) is before


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def closed(gate):
    """Within the block, the network waits at `gate`."""
    gate.clear()
    try:
        yield gate
    finally:
        gate.set()


def test_sigterm_under_load_loses_no_accepted_request(served):
    engine = grey_engine()

    def story(visitor):
        with ThreadPoolExecutor(6) as pool, closed(engine.network.gate) as gate:
            accepted = [pool.submit(visitor.ask, grey_jpeg(level)) for level in range(6)]
            until(lambda: visitor.in_progress() == 6)
            visitor.stop()
            until(lambda: visitor.get("/readyz").status_code == 503)
            refused = visitor.ask(grey_jpeg(9))
            gate.set()
            answers = [one.result() for one in accepted]
        return refused.status_code, {one.status_code for one in answers}

    (number, is_complete), (refused, accepted) = served(engine, story)
    assert (number, is_complete, refused, accepted) == (signal.SIGTERM, True, 503, {200})


def test_what_is_not_finished_in_time_is_reported(served):
    engine = grey_engine()

    def story(visitor):
        with ThreadPoolExecutor(1) as pool, closed(engine.network.gate):
            lost = pool.submit(visitor.ask, grey_jpeg(1))
            until(lambda: visitor.in_progress() == 1)
            visitor.stop()
            return lost.result().status_code

    (number, is_complete), status = served(engine, story, drain=0.1)
    assert (number, is_complete, status) == (signal.SIGTERM, False, 503)


def test_clients_get_early_refusals_and_bad_connections_cost_only_themselves(served):
    def story(visitor):
        port = visitor.base_url.port
        answers = [
            visitor.ask(bytes(30_000_000)).status_code,
            visitor.ask(grey_jpeg(1), headers={"Host": "evil.example"}).status_code,
        ]
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(b"POST /v1/depth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
        half.close()
        slow = socket.create_connection(("127.0.0.1", port))
        slow.sendall(b"POST /v1/depth HTTP/1.1\r\nHost: loc")
        broken = socket.create_connection(("127.0.0.1", port))
        broken.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        answers.append(int(broken.recv(100).split()[1]))
        large = socket.create_connection(("127.0.0.1", port))
        large.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n")
        answers.append(int(large.recv(100).split()[1]))
        answers.append(visitor.ask(grey_jpeg(1)).status_code)
        for one in (slow, broken, large):
            one.close()
        return answers

    _, answers = served(grey_engine(), story, max_body_bytes=100_000)
    assert answers == [413, 403, 400, 431, 200]


def test_a_connection_without_a_header_is_closed(served):
    def story(visitor):
        with socket.create_connection(("127.0.0.1", visitor.base_url.port)) as slow:
            slow.settimeout(10)
            slow.sendall(b"POST /v1/depth HTTP/1.1\r\nHost: loc")
            return slow.recv(100), visitor.get("/healthz").status_code

    assert served(grey_engine(), story, read_timeout=0.1)[1] == (b"", 200)


def test_a_connection_that_is_idle_after_an_answer_can_be_used_again(served):
    def story(visitor):
        statuses = []
        with closing(HTTPConnection("127.0.0.1", visitor.base_url.port, timeout=10)) as host:
            for _ in range(2):
                host.request("GET", "/healthz")
                answer = host.getresponse()
                answer.read()
                statuses.append(answer.status)
                time.sleep(1)  # far longer than the time for a header
            host.sock.sendall(b"POST /v1/depth HTTP/1.1\r\nHost: loc")
            with suppress(ConnectionError):
                statuses.append(host.sock.recv(100))
        return statuses

    assert served(grey_engine(), story, read_timeout=0.1)[1][:2] == [200, 200]


def test_a_port_in_use_is_an_error_of_ours():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnsupportedError, match=f"cannot serve at 127.0.0.1:{port}"):
            serve(grey_engine(), ServerSettings(port=port), print)


@pytest.mark.slow
def test_the_command_serves_until_sigterm_and_exits_with_143(tmp_path):
    command = Path(sys.executable).with_name("da3")
    words = [command, "serve", "--model-dir", "da3-nano", "--device", "cpu", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[-1]
        assert address.startswith("http://127.0.0.1:")
        with ThreadPoolExecutor(8) as pool, Visitor(base_url=address, timeout=60, verify=False) as visitor:
            asked = [pool.submit(visitor.ask, jpeg(seed=number)) for number in range(24)]
            asked[3].result()
            process.terminate()
            answers = [one.result() for one in asked]
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, err
    assert {one.status_code for one in answers} <= {200, 503}
    assert "every accepted request was finished" in err
    assert "Traceback" not in out + err
