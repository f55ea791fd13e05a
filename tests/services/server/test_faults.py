"""Bad clients of a real server: each costs itself only, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from support.corpus.cases import corpus
from support.corpus.damaged import bombs
from support.images import jpeg
from support.server_process import head, server_process
from support.serving import depth_of, grey_jpeg

pytestmark = pytest.mark.slow

TOKEN = "0123456789abcdef-token"
BOUNDARY = "Content-Type: multipart/form-data; boundary=x"
LIMIT = 1.0
"""Seconds that a client may take to send a header, or a body, or to read a piece of a result."""
PATIENCE = 30.0
"""Seconds more, on a busy machine; all that these clients would send takes minutes."""


@pytest.fixture(scope="module")
def shared():
    with server_process(read_timeout=LIMIT, max_pixels=1 << 22, max_body_bytes=8 << 20, max_requests=32) as server:
        yield server


@pytest.fixture
def server(shared):
    """A server that afterwards holds nothing, answers, and has as many open files as before."""
    before = shared.open_files()
    yield shared
    shared.until(shared.holds_nothing)
    shared.until(lambda: shared.open_files() <= before + 1)
    answer = shared.ask(grey_jpeg(120), headers={"Accept": "application/json"})
    assert answer.json()["min"] == pytest.approx(depth_of(120), abs=0.02)


def part(name, data, filename="a.jpg"):
    shown = f'; filename="{filename}"' if filename is not None else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + data + b"\r\n"


def trickle(connection, data, pause):
    """Send a byte at a time; return what is answered once the connection is closed, and after how many seconds."""
    began = time.monotonic()
    connection.settimeout(pause)
    for byte in data:
        try:
            with suppress(ConnectionError):  # it is closed: what was answered is read all the same
                connection.sendall(bytes([byte]))
            answer = connection.recv(1 << 16)
        except TimeoutError:  # no answer yet
            continue
        except ConnectionError:
            answer = b""
        return answer, time.monotonic() - began
    raise AssertionError("the server waited for all of it")


@pytest.mark.parametrize("pause", [0.05, 0.3], ids=["20 bytes a second", "3 bytes a second"])
def test_slow_senders_of_headers_are_closed(server, pause):
    with server.connect() as slow:
        answer, seconds = trickle(slow, head(10) * 30, pause)
    assert answer == b""
    assert seconds < LIMIT + PATIENCE


def test_slow_senders_of_bodies_get_408(server):
    image = jpeg()
    with ThreadPoolExecutor(8) as pool:
        slow = [server.connect(head(len(image))) for _ in range(8)]
        answers = list(pool.map(lambda one: trickle(one, image, 0.1), slow))
        for one in slow:
            one.close()
    for answer, seconds in answers:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert seconds < LIMIT + PATIENCE


def test_slow_readers_lose_their_result_and_give_back_their_place(server):
    sizes = head(len(grey_jpeg(50, 1500, 1500)), "Accept: application/octet-stream",
                 path="/v1/depth?process_res=56&output_size=input")  # fmt: skip
    slow = []
    for _ in range(4):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", server.port))
        one.sendall(sizes + grey_jpeg(50, 1500, 1500))
        slow.append(one)
    server.until(lambda: server.gauges()["requests_in_progress"] == 4)
    server.until(server.holds_nothing)  # though nobody read the 9 MB
    for one in slow:
        one.close()


def test_a_reader_that_takes_its_time_gets_all(server):
    image = grey_jpeg(50, 1000, 1000)
    with server.connect() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        path = "/v1/depth?process_res=56&output_size=input"
        one.sendall(head(len(image), "Accept: application/octet-stream", path=path) + image)
        received = bytearray()
        while data := one.recv(1 << 16):
            received += data
            time.sleep(0.02)  # 4 MB in two seconds, twice the time of a piece
    depth = np.frombuffer(received.partition(b"\r\n\r\n")[2], "<f4")
    assert depth.size == 1000 * 1000
    np.testing.assert_allclose(depth, depth_of(50), atol=0.02)


def test_bodies_that_end_too_early_are_dropped(server):
    image = jpeg()
    for sent in (0, 1, len(image) // 2, len(image) - 1):
        server.connect(head(len(image)) + image[:sent]).close()
    form = part("image", image)
    for sent in (3, 60, len(form) // 2, len(form)):
        server.connect(head(len(form) + 5, BOUNDARY) + form[:sent]).close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(head(len(jpeg()) + 100) + jpeg(), 408, id="too long"),
        pytest.param(head(500) + jpeg(), 422, id="too short"),
        pytest.param(head(-1) + jpeg(), 400, id="negative"),
        pytest.param(head("1e3") + jpeg(), 400, id="no number"),
        pytest.param(head("5\r\nContent-Length: 6") + jpeg(), 400, id="two lengths"),
        pytest.param(head(10**15) + jpeg(), 413, id="a petabyte"),
        pytest.param(head(0), 400, id="zero"),
        pytest.param(head(None), 400, id="none"),
        pytest.param(head(None, "Transfer-Encoding: chunked") + b"zz\r\nabc", 400, id="damaged chunk"),
        pytest.param(head(None, "Transfer-Encoding: chunked") + b"ffffffffffffffffffff\r\nabc", 408, id="huge chunk"),
        pytest.param(head(None, "Transfer-Encoding: gzip") + jpeg(), 400, id="unknown coding"),
    ],
)
def test_wrong_lengths(server, sent, status):
    assert server.status(sent) == status


def test_work_of_clients_that_have_gone_is_dropped():
    with server_process(0.2) as server:
        before = server.images()
        image = grey_jpeg(90)
        gone = [server.connect(head(len(image)) + image) for _ in range(30)]
        server.until(lambda: server.gauges()["requests_in_progress"] == 30)
        for one in gone:
            one.close()
        server.until(server.holds_nothing)
        assert server.images() - before < 20  # those that had begun
        assert server.ask(grey_jpeg(90)).status_code == 200


def test_bombs_are_refused_before_they_are_decoded(server):
    for case in bombs():
        answer = server.ask(case.data, params={"process_res": 28})
        expected = {413, 415, 422} if case.pixels is None else {200}  # two have a small image all the same
        assert answer.status_code in expected, str(case)


def test_the_whole_corpus_gets_an_answer(server):
    def ask(case):
        return case, server.ask(case.data, params={"process_res": 28})

    with ThreadPoolExecutor(4) as pool:
        for case, answer in pool.map(ask, corpus()):
            expected = {400, 413, 415, 422} if case.pixels is None else {200, 413, 422}
            assert answer.status_code in expected, (str(case), answer.text)
            assert "Traceback" not in answer.text


def test_who_may_ask_on_a_real_connection():
    with server_process(token=TOKEN) as server:
        image = grey_jpeg(10)

        def status(*lines, host="localhost", token=TOKEN):
            more = (f"Authorization: Bearer {token}",) if token is not None else ()
            sent = head(len(image), *lines, *more).replace(b"Host: localhost", b"Host: " + host.encode())
            return server.status(sent + image)

        assert status() == 200
        assert status("Origin: http://localhost") == 200
        assert [status(host=name) for name in ("evil.example", "localhost.evil.example", "")] == [403] * 3
        assert [status(f"Origin: {one}") for one in ("https://evil.example", "null")] == [403] * 2
        assert [status(token=one) for one in (None, "", TOKEN[:-1], TOKEN + "x")] == [401] * 4
        assert status("Authorization: Bearer x") == 401  # two of them


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/errors.py",
        "/static//etc/passwd",
        "//etc/passwd",
        "/static/..%5c..%5cerrors.py",
        "/../server/app.py",
        "/static/%00",
        "/v1/../../etc/passwd",
        "/static/" + "a" * 5000,
    ],
)
def test_paths_lead_nowhere(server, path):
    answer = server.exchange(head(None, path=path, method="GET"))
    assert answer.split()[1] in (b"404", b"400"), answer[:300]
    assert b"root:" not in answer
    assert b"import" not in answer


def test_file_names_of_forms_are_names_only(server, tmp_path):
    image = grey_jpeg(30)
    before = set(os.listdir("/tmp")), set(os.listdir())
    for name in ("../../../../tmp/x.jpg", "/etc/passwd", "C:\\\\x\\\\y.jpg", "\x00\x1b[31m.jpg", "", "a" * 3000):
        form = part("image", image, name) + b"--x--\r\n"
        answer = server.exchange(head(len(form), BOUNDARY, "Accept: application/x-npz") + form)
        assert answer.split()[1] in (b"200", b"400"), answer[:300]
        assert b"../" not in answer.partition(b"\r\n\r\n")[0]
    assert {"x.jpg", "passwd"}.isdisjoint(set(os.listdir("/tmp")) - before[0])
    assert set(os.listdir()) == before[1]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["X: " + "x" * 100_000], id="one"),
        pytest.param([f"X-{number}: y" for number in range(900)], id="many"),
        pytest.param([f"X-{number}: {'y' * 500}" for number in range(60)], id="many long ones"),
    ],
)
def test_headers_are_bounded(server, lines):
    assert server.status(head(0, *lines)) in (400, 431, None)
    assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(part("image", b"a", None) * 5000 + b"--x--\r\n", id="thousands of fields"),
        pytest.param(part("image", jpeg()) * 2000 + b"--x--\r\n", id="thousands of files"),
        pytest.param(b"--x\r\n" + b"A: b\r\n" * 50_000 + b"\r\na\r\n--x--\r\n", id="thousands of headers"),
        pytest.param(b"--x\r\nA: " + b"b" * 1_000_000 + b"\r\n\r\na\r\n--x--\r\n", id="a long header"),
        pytest.param(b"\r\n" * 500_000 + part("image", jpeg()) + b"--x--\r\n", id="a long preamble"),
        pytest.param(part("image", jpeg()) + b"--x--\r\n" + b"y" * 2_000_000, id="a long epilogue"),
        pytest.param(b"--x" * 500_000, id="only boundaries"),
        pytest.param(part("image", b"\r\n--" * 400_000) + b"--x--\r\n", id="nearly boundaries"),
    ],
)
def test_forms_that_are_meant_to_cost_time_do_not(server, form):
    began = time.process_time()
    answer = server.exchange(head(len(form), BOUNDARY) + form)
    status = int(answer.split()[1]) if answer else 0
    assert status in (0, 200, 400, 413, 415, 422), answer[:300]
    assert time.process_time() - began < 5


def test_memory_that_runs_out_fails_the_image_that_needs_it_only():
    levels = [0 if place % 4 == 1 else 20 + place * 9 for place in range(24)]

    def ask(level):
        return server.ask(grey_jpeg(level), headers={"Accept": "application/json"})

    with server_process(0.01, short_of_memory=True, batch_size="4", batch_wait=50) as server:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, levels))
        assert server.client.get("/readyz").status_code == 200
    for level, answer in zip(levels, answers, strict=True):
        if level == 0:
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:da3:error:out-of-memory")
        else:
            assert answer.json()["min"] == pytest.approx(depth_of(level), abs=0.02)


def test_sigterm_under_load_loses_nothing_and_exits_with_143():
    with server_process(0.05, max_requests=40) as server, ThreadPoolExecutor(41) as pool:
        levels = [10 + 5 * place for place in range(40)]
        asked = [pool.submit(server.ask, grey_jpeg(one), headers={"Accept": "application/json"}) for one in levels]
        server.until(lambda: server.gauges()["requests_in_progress"] > 20)
        with server.connect() as early:  # a connection from before
            server.process.terminate()
            began = time.monotonic()
            server.until(lambda: server.client.get("/readyz").status_code == 503)
            seconds = time.monotonic() - began
            refused = server.ask(grey_jpeg(1))
            early.sendall(head(None, path="/readyz", method="GET"))
            assert early.recv(100).startswith(b"HTTP/1.1 503 ")
        answers = [one.result() for one in asked]
        assert server.process.wait(60) == 143
    assert seconds < 1  # at once: the network had a second of work left
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:da3:error:draining")
    kinds = [json.loads(one.text).get("type") for one in answers]
    assert kinds.count(None) > 20
    assert set(kinds) <= {None, "urn:da3:error:draining"}
    for level, answer in zip(levels, answers, strict=True):
        if answer.status_code == 200:
            assert answer.json()["min"] == pytest.approx(depth_of(level), abs=0.02)


def test_a_large_result_is_delivered_though_sigterm_came_before_it_was_read():
    with server_process() as server:
        image = grey_jpeg(50, 1000, 1000)
        path = "/v1/depth?process_res=56&output_size=input"
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            one.connect(("127.0.0.1", server.port))
            one.sendall(head(len(image), "Accept: application/octet-stream", path=path) + image)
            received = bytearray(one.recv(1000))
            server.process.terminate()
            while data := one.recv(1 << 16):
                received += data
                time.sleep(0.05)  # in all longer than the two seconds that uvicorn waits for open connections
        assert len(received.partition(b"\r\n\r\n")[2]) == 4 * 1000 * 1000
        assert server.process.wait(60) == 143
