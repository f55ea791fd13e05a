"""Measure the server beside `stream` on the same files, its latency, and its refusals when it is overloaded.

    uv run python benchmarks/serve.py                              # a network that takes 50 ms
    uv run python benchmarks/serve.py --network da3-nano --images 128 --overload 60

The server runs in a process of its own, on loopback; the clients are those of this process, and read raw depth.
`throughput`: images a second of 32 clients with files of five sizes, over those of `stream` in this process, in turns.
`latency`: of one client, request after request, and of 32 clients at once, beside `stream` with one image at a time.
`overload`: ten times more clients than places, in a process of their own; how soon one more client is refused, beside
an answer of `/healthz`, and memory of the server.
Nothing else may run on the machine. Where it does, only the ratios of turns mean something.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

# As the command sets them, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import numpy as np
import psutil
import torch
from rich.console import Console

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo_jpeg
from depth_anything_3.services.server.run import serve
from depth_anything_3.services.server.settings import ServerSettings
from harness.machine import describe_machine
from harness.report import as_json, print_facts
from harness.stand_in import load_model
from harness.timing import ratio, take_turns, timed

SIZES = ((640, 480), (1280, 720), (1920, 1080), (1080, 1920), (800, 800))
CLIENTS = 32
_PROCESS_RES = 504
_DIFFERENT = 4  # images a size
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Address:
    """A server and the id of its process."""

    host: str
    port: int
    pid: int

    def connect(self) -> http.client.HTTPConnection:
        """Make a connection."""
        return http.client.HTTPConnection(self.host, self.port, timeout=120)


@dataclass
class Found:
    """What was measured; milliseconds, images a second, megabytes."""

    throughput: float
    throughput_over_stream: float
    one_client_p50: float
    one_client_p95: float
    one_client_over_stream: float
    clients_p50: float
    clients_p95: float
    refusals: int = 0
    accepted: int = 0
    probes: int = 0
    refusal_p50: float = 0.0
    refusal_p95: float = 0.0
    refusal_max: float = 0.0
    healthz_p50: float = 0.0
    healthz_p95: float = 0.0
    memory_before: float = 0.0
    memory_peak: float = 0.0


def post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
    """Send an image; return the status and the answer."""
    path = f"/v1/depth?process_res={_PROCESS_RES}"
    connection.request("POST", path, body, {"Accept": "application/octet-stream"})
    answer = connection.getresponse()
    return answer.status, answer.read()


@contextmanager
def server_process(network: str, max_requests: int) -> Iterator[Address]:
    """Run the server in a process of its own."""
    words = [sys.executable, __file__, "--serve", network, str(max_requests)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = urlsplit(process.stdout.readline().strip())
            yield Address(str(url.hostname), int(url.port or 0), process.pid)
        finally:
            process.terminate()


def ask_all(address: Address, files: Sequence[bytes], clients: int) -> list[float]:
    """Let clients send all files, each its next one after the last answer; return the milliseconds of each."""
    left = iter(files)
    lock = threading.Lock()

    def client() -> list[float]:
        spent: list[float] = []
        connection = address.connect()
        while True:
            with lock:
                body = next(left, None)
            if body is None:
                connection.close()
                return spent
            began = time.perf_counter()
            status, _ = post(connection, body)
            assert status == 200, status
            spent.append(1e3 * (time.perf_counter() - began))

    with ThreadPoolExecutor(clients) as pool:
        return [one for found in [pool.submit(client) for _ in range(clients)] for one in found.result()]


def compare(
    model: DepthAnything3, address: Address, files: Sequence[bytes], paths: Sequence[Path], rounds: int
) -> Found:
    """Measure throughput and latency beside `stream`, in turns."""
    latencies: dict[int, list[float]] = {1: [], CLIENTS: []}
    few = slice(None, None, 8)

    def stream(chosen: Sequence[Path]) -> None:
        for _ in model.stream(chosen, batch_size=1, process_res=_PROCESS_RES):
            pass

    def one_by_one() -> None:
        for path in paths[few]:
            stream([path])

    def ask(chosen: Sequence[bytes], clients: int) -> None:
        latencies[clients] += ask_all(address, chosen, clients)

    timings = take_turns(
        {
            "stream": timed(lambda: stream(paths)),
            "server": timed(lambda: ask(files, CLIENTS)),
            "one by one": timed(one_by_one),
            "one client": timed(lambda: ask(files[few], 1)),
        },
        rounds=rounds,
    )
    over = ratio(timings["stream"].times_ms, timings["server"].times_ms)
    more = [
        (b - a) / len(files[few])
        for a, b in zip(timings["one by one"].times_ms, timings["one client"].times_ms, strict=True)
    ]
    one, many = (np.percentile(latencies[clients], (50, 95)) for clients in (1, CLIENTS))
    return Found(
        throughput=1e3 * len(files) / timings["server"].median_ms,
        throughput_over_stream=over,
        one_client_p50=float(one[0]),
        one_client_p95=float(one[1]),
        one_client_over_stream=float(np.median(more)),
        clients_p50=float(many[0]),
        clients_p95=float(many[1]),
    )


async def load(host: str, port: int, seconds: float, clients: int, file: Path) -> None:
    """Keep clients asking, each again about half a second after a refusal; print how many were accepted and refused."""
    until, found = time.monotonic() + seconds, {"200": 0, "429": 0}
    request = _request(file.read_bytes())

    async def client() -> None:
        while time.monotonic() < until:
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                answer = await reader.read(1 << 10)
                found[answer.split(maxsplit=2)[1].decode()] += 1
                while await reader.read(1 << 16):
                    pass
            finally:
                writer.close()
            if b" 429 " in answer[:20]:
                await asyncio.sleep(random.uniform(0.1, 0.9))  # else all of them would come at once

    await asyncio.gather(*(client() for _ in range(clients)))
    print(json.dumps(found))


def overload(address: Address, file: Path, clients: int, seconds: float, found: Found) -> None:
    """Measure refusals as one client sees them, while another process asks with ten times more clients than places."""
    process = psutil.Process(address.pid)
    found.memory_before = found.memory_peak = process.memory_info().rss / 1e6
    words = [sys.executable, __file__, "--load", address.host, str(address.port), str(seconds), str(clients), str(file)]
    refused: list[float] = []
    alive: list[float] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as others:
        time.sleep(1)  # until all of them ask
        until, request = time.monotonic() + seconds - 2, _request(file.read_bytes())
        while time.monotonic() < until:
            found.memory_peak = max(found.memory_peak, process.memory_info().rss / 1e6)
            status, ms = _first_answer(address, request)
            if status == 429:
                refused.append(ms)
            alive.append(_first_answer(address, _request(b"", "GET", "/healthz"))[1])
            time.sleep(0.02)
        answers = json.loads(others.communicate()[0])
    found.accepted, found.refusals = answers["200"], answers["429"]
    found.probes = len(refused)
    found.healthz_p50, found.healthz_p95 = map(float, np.percentile(alive, (50, 95)))
    if refused:
        found.refusal_p50, found.refusal_p95, found.refusal_max = map(float, np.percentile(refused, (50, 95, 100)))


def _request(body: bytes, method: str = "POST", path: str = f"/v1/depth?process_res={_PROCESS_RES}") -> bytes:
    lines = (
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Content-Length: {len(body)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body


def _first_answer(address: Address, request: bytes) -> tuple[int, float]:
    """Send a request; return the status and the milliseconds until the answer began."""
    with socket.create_connection((address.host, address.port)) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        one.sendall(request)
        status = int(one.recv(1 << 16).split(maxsplit=2)[1])
        ms = 1e3 * (time.perf_counter() - began)
        while one.recv(1 << 16):
            pass
    return status, ms


def serve_here(network: str, max_requests: int) -> None:
    """Run the server in this process, until SIGTERM."""
    settings = ServerSettings(port=0, max_requests=max_requests, batch_size="1")
    serve(load_model(network, torch.device("cpu")).engine, settings, lambda address: print(address, flush=True))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="50ms", help="a preset, instant, or milliseconds such as 50ms")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overload", type=float, default=10.0, metavar="SECONDS", help="0: without")
    parser.add_argument("--max-requests", type=int, default=8, help="places of the server that is overloaded")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2, metavar=("NETWORK", "PLACES"), help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.serve:
        serve_here(options.serve[0], int(options.serve[1]))
        return
    if options.load:
        host, port, seconds, clients, file = options.load
        asyncio.run(load(host, int(port), float(seconds), int(clients), Path(file)))
        return
    machine = describe_machine(torch.device("cpu"))
    print_facts(console, machine)
    originals = [photo_jpeg(*size, seed) for size in SIZES for seed in range(_DIFFERENT)]
    files = [originals[7 * place % len(originals)] for place in range(options.images)]
    with tempfile.TemporaryDirectory(prefix="da3-serve-") as folder:
        paths = [Path(folder) / f"{place:05d}.jpg" for place in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        model = load_model(options.network, torch.device("cpu"))
        with server_process(options.network, 2 * CLIENTS) as address:
            found = compare(model, address, files, paths, options.rounds)
        if options.overload:
            with server_process(options.network, options.max_requests) as address:
                overload(address, paths[0], 10 * options.max_requests, options.overload, found)
    _print(found)
    if options.json:
        options.json.write_text(as_json(machine, [asdict(found)]), encoding="utf-8")


def _print(found: Found) -> None:
    console.print(
        f"{CLIENTS} clients: {found.throughput:.1f} images/s, {found.throughput_over_stream:.0%} of stream; "
        f"p50 {found.clients_p50:.0f} ms, p95 {found.clients_p95:.0f} ms\n"
        f"one client: p50 {found.one_client_p50:.1f} ms, p95 {found.one_client_p95:.1f} ms, "
        f"{found.one_client_over_stream:+.1f} ms an image over stream with one image at a time"
    )
    if found.refusals:
        console.print(
            f"overload: {found.accepted:,} accepted, {found.refusals:,} refused; one more client was refused "
            f"{found.probes} times, after {found.refusal_p50:.1f} ms (p50), {found.refusal_p95:.1f} (p95), "
            f"{found.refusal_max:.0f} (longest); /healthz: {found.healthz_p50:.1f} and {found.healthz_p95:.1f} ms; "
            f"memory of the server {found.memory_before:.0f} MB before, {found.memory_peak:.0f} at most"
        )


if __name__ == "__main__":
    main()
