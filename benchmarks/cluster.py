"""Measure one worker of a Ray cluster beside the command without a cluster, each on the same core.

    python benchmarks/cluster.py --images 400 --rounds 5      # needs the extra `ray`

In turns, each a new process: `da3 images` on one core, and `da3 images --cluster`, whose only worker has that core, and
all else of Ray the others. Both read the same photos and write a PNG for each. Compared are images a second between
the first and the last PNG, so the start of processes does not count. Nothing else may run on the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import psutil
import ray
from ray.cluster_utils import Cluster
from rich.console import Console

from depth_anything_3.diagnostics.synthetic import photo_jpeg
from harness.machine import describe_machine
from harness.report import print_facts

_DIFFERENT = 10
_CORE = 0
_WORKER = "ray::MapWorker"
_PIN_SECONDS = 0.2
console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the rounds and print their ratios."""
    args = _arguments()
    if len(os.sched_getaffinity(0)) < 2:
        console.print("this benchmark needs two cores: one for the worker, one for Ray")
        return 2
    print_facts(console, {**describe_machine(), "ray": ray.__version__})
    with tempfile.TemporaryDirectory() as temporary, _cluster() as address:
        root = Path(temporary)
        photos = _photos(root, args.images)
        ratios = []
        for number in range(args.rounds):
            local = _local(photos, root / f"local{number}", args)
            worker = _worker(photos, root / f"cluster{number}", args, address)
            ratios.append(worker / local)
            console.print(f"one process {local:.2f} images/s, one worker {worker:.2f}: {100 * ratios[-1]:.1f} %")
    console.print(f"median of {len(ratios)} rounds: {100 * median(ratios):.1f} %")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="da3-nano")
    parser.add_argument("--process-res", type=int, default=252)
    parser.add_argument("--batch-size", type=int, default=1)
    return parser.parse_args()


def _photos(root: Path, count: int) -> Path:
    folder = root / "photos"
    folder.mkdir()
    files = [photo_jpeg(1280, 720, seed) for seed in range(_DIFFERENT)]
    for index in range(count):
        (folder / f"{index:05d}.jpg").write_bytes(files[index % _DIFFERENT])
    return folder


@contextmanager
def _cluster() -> Iterator[str]:
    # Ray's processes and their threads inherit the cores of this one; workers are moved.
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, everything - {_CORE})
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    try:
        yield cluster.address
    finally:
        cluster.shutdown()
        os.sched_setaffinity(0, everything)


def _local(photos: Path, folder: Path, args: argparse.Namespace) -> float:
    return _run(_command(photos, folder, args), folder, {_CORE})


def _worker(photos: Path, folder: Path, args: argparse.Namespace, address: str) -> float:
    command = [*_command(photos, folder, args), "--cluster", address, "--workers", "1:1"]
    ended = threading.Event()
    pinning = threading.Thread(target=_pin_workers, args=(ended,))
    pinning.start()
    try:
        return _run(command, folder, os.sched_getaffinity(0))
    finally:
        ended.set()
        pinning.join()


def _command(photos: Path, folder: Path, args: argparse.Namespace) -> list[str]:
    return [
        *(sys.executable, "-m", "depth_anything_3", "images", str(photos), "-o", str(folder), "-m", args.model),
        *("--device", "cpu", "--process-res", str(args.process_res), "-f", "depth_png", "--pack", "files"),
        *("--backend", "torch", "--batch-size", str(args.batch_size)),
    ]


def _run(command: Sequence[str], folder: Path, cores: set[int]) -> float:
    """Run a command on some of the cores; return the images a second that it wrote."""

    def pin() -> None:
        os.sched_setaffinity(0, cores)

    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=pin)
    written = sorted(one.stat().st_mtime for one in folder.rglob("*.png"))
    return (len(written) - 1) / (written[-1] - written[0])


def _pin_workers(ended: threading.Event) -> None:
    """Move the worker and its threads to the core of the comparison, as soon as they are there."""
    while not ended.wait(_PIN_SECONDS):
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if process.cmdline()[:1] and process.cmdline()[0].startswith(_WORKER):
                    for thread in process.threads():
                        os.sched_setaffinity(thread.id, {_CORE})


if __name__ == "__main__":
    sys.exit(main())
