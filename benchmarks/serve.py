"""Measure the server beside `stream` on the same files, its latency, and its refusals when it is overloaded.

    uv run python benchmarks/serve.py                              # a network that takes 50 ms
    uv run python benchmarks/serve.py --network da3-nano --images 128 --overload 60

The server runs in a process of its own, on loopback; the clients are those of this process, and read raw depth.
`throughput`: images a second of 32 clients with files of five sizes, over those of `stream` in this process, in turns.
`latency`: of one client, request after request, and of 32 clients at once, beside `stream` with one image at a time.
`overload`: ten times more clients than places; time to a 429 beside that of `/healthz`, and memory of the server.
Nothing else may run on the machine. Where it does, only the ratios of turns mean something.
"""

from __future__ import annotations

import argparse
import http.client
import os
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
    refusal_p50: float = 0.0
    refusal_p95: float = 0.0
    refusal_max: float = 0.0
    healthz_p50: float = 0.0
    memory_before: float = 0.0
    memory_peak: float = 0.0


def post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
    """Send an image; return the status and the answer."""
    path = f"/v1/depth?process_res={_PROCESS_RES}"
    connection.request("POST", path, body, {"Accept": "application/octet-stream"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def healthz(address: Address) -> float:
    """Ask for the cheapest answer; return the milliseconds."""
    connection = address.connect()
    connection.connect()
    began = time.perf_counter()
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    connection.close()
    return 1e3 * (time.perf_counter() - began)


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


def overload(address: Address, files: Sequence[bytes], clients: int, seconds: float, found: Found) -> None:
    """Ask with ten times more clients than places, each again half a second after a refusal."""
    process, until = psutil.Process(address.pid), time.monotonic() + seconds
    found.memory_before = found.memory_peak = process.memory_info().rss / 1e6

    alive: list[float] = []

    def client(number: int) -> list[tuple[int, float]]:
        answers = []
        while time.monotonic() < until:
            connection = address.connect()  # a refusal closes it
            connection.connect()
            began = time.perf_counter()
            status, _ = post(connection, files[number % len(files)])
            answers.append((status, 1e3 * (time.perf_counter() - began)))
            connection.close()
            alive.append(healthz(address))
            time.sleep(0.5)
        return answers

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client, number) for number in range(clients)]
        while time.monotonic() < until:
            found.memory_peak = max(found.memory_peak, process.memory_info().rss / 1e6)
            time.sleep(0.05)
        answers = [answer for one in running for answer in one.result()]
    refused = [ms for status, ms in answers if status == 429]
    found.accepted = sum(status == 200 for status, _ in answers)
    found.refusals = len(refused)
    assert found.accepted + found.refusals == len(answers), {status for status, _ in answers}
    found.healthz_p50 = float(np.median(alive))
    if refused:
        found.refusal_p50, found.refusal_p95, found.refusal_max = map(float, np.percentile(refused, (50, 95, 100)))


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
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.serve:
        serve_here(options.serve[0], int(options.serve[1]))
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
                overload(address, files, 10 * options.max_requests, options.overload, found)
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
            f"overload: {found.accepted:,} accepted, {found.refusals:,} refused after "
            f"{found.refusal_p50:.1f} ms (p50), {found.refusal_p95:.1f} (p95), {found.refusal_max:.0f} (longest); "
            f"/healthz by the same clients {found.healthz_p50:.1f} (p50); "
            f"memory of the server {found.memory_before:.0f} MB before, {found.memory_peak:.0f} at most"
        )


if __name__ == "__main__":
    main()
