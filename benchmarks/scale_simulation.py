"""Simulate what bounds a run on 1, 8 and 64 GPUs, and print the table of docs/scale.md.

Nothing is measured here. Each worker reads one block while it computes another, the head node hands out blocks one
after another, and each block takes the longer of decoding and network. `--help` lists the figures that it rests on.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass, replace

GPUS = (1, 8, 64)
BLOCK = 128
GB = 1000.0  # in MB


@dataclass(frozen=True)
class Site:
    """Figures of images and machines.

    Attributes:
        network: images/s of the network on one GPU.
        decode_ms: processor time to decode and resample an image, in ms of one core.
        image_mb: size of an image's file.
        cores: cores per GPU.
        node_gpus: GPUs per node.
        node_gb: GB/s that a node reads from the store.
        store_gb: GB/s that the store gives in all.
        head_ms: time of the head node for a block.
        jitter: standard deviation of a block's time, as a fraction.
    """

    network: float = 60.0
    decode_ms: float = 33.0
    image_mb: float = 2.7
    cores: float = 8.0
    node_gpus: int = 8
    node_gb: float = 3.0
    store_gb: float = 12.0
    head_ms: float = 20.0
    jitter: float = 0.1


def bounds(site: Site, gpus: int) -> dict[str, float]:
    """Return the images/s that each part allows."""
    nodes = -(-gpus // site.node_gpus)
    return {
        "network": gpus * site.network,
        "decode cores": gpus * site.cores * 1e3 / site.decode_ms,
        "node's bandwidth": nodes * site.node_gb * GB / site.image_mb,
        "store's bandwidth": site.store_gb * GB / site.image_mb,
        "head node": BLOCK * 1e3 / site.head_ms,
    }


def simulate(site: Site, gpus: int, blocks_per_gpu: int = 200) -> float:
    """Return the images/s of a run, from its first block to its last."""
    chance = random.Random(0)
    reading = BLOCK / min(bounds(site, gpus)["node's bandwidth"], bounds(site, gpus)["store's bandwidth"]) * gpus
    computing = BLOCK * max(1 / site.network, site.decode_ms / 1e3 / site.cores)
    left = blocks = gpus * blocks_per_gpu
    head_free = last = 0.0
    asking = [(0.0, worker) for worker in range(gpus)]  # when each worker can begin to read
    heapq.heapify(asking)
    busy_until = [0.0] * gpus
    while left:
        now, worker = heapq.heappop(asking)
        head_free = max(head_free, now) + site.head_ms / 1e3
        begin = max(head_free + reading, busy_until[worker])
        busy_until[worker] = begin + computing * max(0.1, chance.gauss(1, site.jitter))
        last = max(last, busy_until[worker])
        heapq.heappush(asking, (begin, worker))  # the next is read while this one is computed
        left -= 1
    return blocks * BLOCK / last


def table(site: Site) -> list[str]:
    """Return the rows of a Markdown table: GPUs, images/s, hours for a million images, the bound, and the next one."""
    rows = ["| GPUs | images/s | GPUs busy | hours per million | bound by | next bound |", "|---|---|---|---|---|---|"]
    for gpus in GPUS:
        found = simulate(site, gpus)
        by = sorted(bounds(site, gpus).items(), key=lambda one: one[1])
        busy = found / (gpus * site.network)
        rows.append(
            f"| {gpus} | {found:,.0f} | {busy:.0%} | {1e6 / found / 3600:.2f} | {by[0][0]} | "
            f"{by[1][0]}, at {by[1][1]:,.0f} images/s |"
        )
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, value in vars(Site()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=name)
    site = Site(**vars(parser.parse_args()))
    for title, one in (
        (f"{site.cores:g} cores per GPU", site),
        ("1 core per GPU", replace(site, cores=1.0)),
        ("a network three times as fast", replace(site, network=3 * site.network)),
    ):
        print(f"\n{title}:\n")
        print("\n".join(table(one)))


if __name__ == "__main__":
    main()
