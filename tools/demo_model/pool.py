"""Keep a pool of rendered scenes on disk: processes render into it, and training draws from a moving window.

Scenes come in rounds of 40 with fixed shares of four image shapes. The step alone decides which rounds it may draw
from, so a run is reproducible however fast the renderers are; a step waits for missing rounds.

    python pool.py FOLDER --slots 500        render the rounds that FOLDER's owner asks for, until the owner ends
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from scenes import Atlas, make_atlas, render

__all__ = ["SHAPES", "Pool", "decode_depth", "encode_depth", "held_out", "renderers"]

SHAPES = ((168, 224), (224, 168), (196, 196), (126, 224))
"""(height, width) of the images."""

_SHARES = (20, 8, 4, 8)  # scenes of each shape in a round
ROUND = sum(_SHARES)

_LOG_LOW, _LOG_HIGH = -3.0, 7.0  # natural logarithm of metres
_SKY = 65535


class Drawn(NamedTuple):
    """Images of one shape: `image` `(n, 3, H, W)` uint8 and `depth` `(n, H, W)` uint16 codes."""

    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.uint16]


def encode_depth(depth: torch.Tensor) -> npt.NDArray[np.uint16]:
    """Encode metres in 16-bit steps of 0.015 %; the sky has the last code."""
    share = (depth.clamp(1e-3, 1e6).log() - _LOG_LOW) / (_LOG_HIGH - _LOG_LOW)
    code = (share.clamp(0.0, 1.0) * (_SKY - 1)).round().int()
    return code.masked_fill(torch.isinf(depth), _SKY).numpy().astype(np.uint16)


def decode_depth(code: npt.NDArray[np.uint16]) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode to the logarithm of metres (float32) and the sky (bool)."""
    values = torch.from_numpy(code.astype(np.int32))
    return values.float() * ((_LOG_HIGH - _LOG_LOW) / (_SKY - 1)) + _LOG_LOW, values == _SKY


class Pool:
    """The files of a pool: `slots` rounds in a ring, which round each slot holds, and which rounds are wanted."""

    def __init__(self, folder: Path, slots: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.slots = folder, slots
        self._images = [
            _open(folder / f"images_{h}x{w}_{slots}", np.uint8, (slots, n, 3, h, w))
            for (h, w), n in zip(SHAPES, _SHARES, strict=True)
        ]
        self._depths = [
            _open(folder / f"depths_{h}x{w}_{slots}", np.uint16, (slots, n, h, w))
            for (h, w), n in zip(SHAPES, _SHARES, strict=True)
        ]
        # Rounds are stored as number + 1: a new file is all zero, which is no round.
        self._holds = _open(folder / f"holds_{slots}", np.int64, (slots,))
        self._wanted = _open(folder / f"wanted_{slots}", np.int64, (2,))

    def want(self, first: int, stop: int) -> None:
        """Ask the renderers for rounds `first` to `stop - 1`."""
        self._wanted[:] = (first, stop)

    def wait(self, first: int, stop: int) -> None:
        """Wait until rounds `first` to `stop - 1` are there."""
        rounds = np.arange(first, stop)
        while not np.array_equal(self._holds[rounds % self.slots], rounds + 1):
            time.sleep(0.2)

    def shape(self, rng: np.random.Generator) -> int:
        """Choose one of :data:`SHAPES` for a step, in proportion to their images."""
        return int(rng.choice(len(SHAPES), p=np.array(_SHARES) / ROUND))

    def draw(self, rng: np.random.Generator, shape: int, first: int, stop: int, count: int) -> Drawn:
        """Random images of one shape from rounds `first` to `stop - 1`."""
        slots = rng.integers(first, stop, count) % self.slots
        places = rng.integers(0, _SHARES[shape], count)
        return Drawn(self._images[shape][slots, places], self._depths[shape][slots, places])

    def render(self, atlas: Atlas, first_seed: int, part: int, parts: int) -> bool:
        """Render the first missing round among every `parts`-th; False if there is none."""
        first, stop = (int(n) for n in self._wanted)
        rounds = [n for n in range(first, stop) if n % parts == part and self._holds[n % self.slots] != n + 1]
        if not rounds:
            return False
        number = rounds[0]
        slot, seed = number % self.slots, first_seed + number * ROUND
        self._holds[slot] = 0
        for shape, images, depths, share in zip(SHAPES, self._images, self._depths, _SHARES, strict=True):
            for start in range(0, share, 4):
                seen = render(range(seed + start, seed + start + 4), shape, atlas)
                images[slot, start : start + 4] = seen.image.numpy()
                depths[slot, start : start + 4] = encode_depth(seen.depth)
            seed += share
        self._holds[slot] = number + 1
        return True


_Kind = TypeVar("_Kind", bound=np.generic)


def _open(path: Path, kind: type[_Kind], shape: tuple[int, ...]) -> npt.NDArray[_Kind]:
    return np.memmap(path, kind, "r+" if path.exists() else "w+", shape=shape)


def renderers(folder: Path, slots: int, first_seed: int, count: int) -> list[subprocess.Popen[bytes]]:
    """Start processes that render into a pool until this process ends."""
    script = [sys.executable, str(Path(__file__).resolve()), str(folder), "--slots", str(slots)]
    options = ["--first-seed", str(first_seed), "--parts", str(count)]
    return [subprocess.Popen([*script, *options, "--part", str(part)]) for part in range(count)]


def held_out(first_seed: int, count: int, atlas: Atlas) -> Iterator[Drawn]:
    """Render scenes that are not in the pool, in its shares of shapes, a few of one shape at a time."""
    seed, left = first_seed, count
    while left:
        for shape, share in zip(SHAPES, _SHARES, strict=True):
            n = min(share // 4, left)
            if n:
                seen = render(range(seed, seed + n), shape, atlas)
                yield Drawn(seen.image.numpy(), encode_depth(seen.depth))
            seed, left = seed + n, left - n


def main() -> None:
    """Render what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    owner, pool, atlas = os.getppid(), Pool(options.folder, options.slots), make_atlas()
    with torch.inference_mode():
        while os.getppid() == owner:
            if not pool.render(atlas, options.first_seed, options.part, options.parts):
                time.sleep(0.3)


if __name__ == "__main__":
    main()
