"""What is promised of a server under load: results of many clients, memory, and refusals."""

from __future__ import annotations

import asyncio
import io
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from support.server_process import server_process
from support.serving import depth_of, grey_jpeg

pytestmark = pytest.mark.long

SIZES = [(640, 480), (480, 640), (800, 800), (1000, 500), (333, 222)]
KINDS = ["application/octet-stream", "image/png", "application/json", "image/tiff", "application/x-npz"]
LEEWAY_MB = 30
"""More than what the pools of the allocator and of the threads take over time."""


def depth_in(answer):
    """Smallest and largest depth of a result."""
    kind, content = answer.headers["content-type"], io.BytesIO(answer.content)
    if kind == "application/json":
        return answer.json()["min"], answer.json()["max"]
    if kind == "application/octet-stream":
        depth = np.frombuffer(answer.content, "<f4")
    elif kind == "application/x-npz":
        depth = np.load(content, allow_pickle=False)["depth"]
    else:
        depth = np.asarray(Image.open(content)) * float(answer.headers.get("x-depth-scale", 1))
    return float(depth.min()), float(depth.max())


def rss_mb(server):
    return psutil.Process(server.process.pid).memory_info().rss / 1e6


def test_512_images_of_32_clients_get_the_depth_of_their_own_image():
    def ask(number):
        level, size = number % 251, SIZES[number % len(SIZES)]
        params = {"process_res": (56, 84)[number % 2], "output_size": "input" if number % 7 == 0 else "network"}
        answer = server.ask(grey_jpeg(level, *size), params=params, headers={"Accept": KINDS[number % 4 + number % 2]})
        return level, size, answer

    with server_process(batch_size="8", batch_wait=5) as server, ThreadPoolExecutor(32) as pool:
        for level, size, answer in pool.map(ask, range(512)):
            assert answer.status_code == 200, answer.text
            assert answer.headers["X-Image-Size"] == f"{size[0]},{size[1]}"
            np.testing.assert_allclose(depth_in(answer), depth_of(level), atol=0.02)
        assert server.holds_nothing()


def test_memory_and_open_files_stay_flat_over_20_000_requests():
    """Small ones, so that it takes a minute or two: what grows by a request grows by 20,000 of them."""
    images = [grey_jpeg(level) for level in range(0, 250, 10)]
    count, settled = 20_000, 4_000

    def ask(number):
        kind = KINDS[number % len(KINDS)] if number % 10 == 0 else "application/octet-stream"
        params = {"process_res": 28}
        if number % 50 == 0:
            params["process_res"] = 14 * (2 + number % 7)
        return server.ask(images[number % len(images)], params=params, headers={"Accept": kind}).status_code

    with server_process() as server, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(settled))) == {200}
        before, files = rss_mb(server), server.open_files()
        assert set(pool.map(ask, range(settled, count))) == {200}
        assert rss_mb(server) - before < LEEWAY_MB
        assert server.open_files() <= files + 2
        assert server.holds_nothing()


def test_ten_times_more_clients_than_places_are_refused_and_memory_is_bounded():
    """80 clients with bodies of 200 kB at a server of 8 places, 20 images a second and 1 MB of bodies."""
    body = grey_jpeg(100, 64, 48) + bytes(200_000)
    found = []

    async def client(http, until):
        while time.monotonic() < until:
            answer = await http.post("/v1/depth", content=body, params={"process_res": 28})
            found.append((answer.status_code, answer.headers.get("Retry-After")))
            await asyncio.sleep(0.2)

    async def overload(url, seconds):
        async with httpx.AsyncClient(base_url=url, timeout=60, verify=False, limits=httpx.Limits()) as http:
            await asyncio.gather(*(client(http, time.monotonic() + seconds) for _ in range(80)))

    with server_process(0.05, max_requests=8, max_queue_bytes=1 << 20) as server:
        assert server.ask(body).status_code == 200
        before, peak = rss_mb(server), 0.0
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(asyncio.run, overload(str(server.client.base_url), 10))
            while not running.done():
                peak = max(peak, rss_mb(server))
                time.sleep(0.05)
            running.result()
        server.until(server.holds_nothing)
        assert server.ask(body).status_code == 200
    statuses = [status for status, _ in found]
    assert set(statuses) == {200, 429}
    assert statuses.count(429) > statuses.count(200) > 10
    assert all(1 <= int(after) <= 120 for status, after in found if status == 429)
    # The bodies, each held twice while it is joined, and the buffers of 80 connections.
    assert peak - before < 2 * 1 + 80 * 0.3 + LEEWAY_MB, (before, peak)
