"""Train the demonstration checkpoint on scenes that are rendered at the same time.

    python train.py FOLDER                       train, or resume from FOLDER's state
    python train.py FOLDER --minutes 9           save everything and stop within this time
    python train.py FOLDER --start model.safetensors --seed 1    train a checkpoint further, on other scenes

A run is determined by its options and its seed: each step draws its scenes and sizes from (seed, step) alone, and each
of its threads augments its share. The folder receives `state.pt` (to resume), `model.safetensors` (the averaged
weights, official names) and `log.jsonl`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from augment import coarse_truth, make_batch
from depth_anything_3.runtime.atomic_file import atomic_write
from evaluate import RAMP_SEED, UnseenScenes, evaluate, fit_ramp, ramp
from losses import total_loss
from network import NANO, NanoDepth, NetworkSize
from pool import ROUND, SHAPES, Drawn, Pool, renderers
from scenes import make_atlas

__all__ = ["Recipe", "Trainer", "main"]

_TOKENS_OF_A_BATCH = 2304  # 48 images of 84x112
_PICTURES_OF_A_STEP = 40  # about, for the pace of new scenes
_MUON_RATE = 2.0  # times AdamW's
_LEVEL_SHARE = 0.25  # of the steps have the highest rate
_SCALES = ((0.4, (0.5, 0.5, 0.667, 0.667)), (0.8, (0.667, 0.667, 1.0)), (1.0, (0.667, 1.0, 1.0)))
"""Until which share of the steps images have which scales."""
_WINDOW = 400  # rounds that a step may draw from
_FIRST_ROUNDS = 40  # there before the first step
_AHEAD = 24  # rounds rendered in advance


@dataclass(frozen=True)
class Recipe:
    """What a run depends on.

    Attributes:
        seed: Of everything random.
        steps: Length of the learning-rate schedule.
        rate: Highest learning rate.
        warm_up: Steps until it is reached.
        decay: Weight decay of matrices.
        reuse: How often a scene is seen, about.
        averaging: Decay of the averaged weights per step.
    """

    seed: int = 0
    steps: int = 3000
    rate: float = 4e-4
    warm_up: int = 150
    decay: float = 0.03
    reuse: float = 12.0
    averaging: float = 0.997

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, level, then linearly down to 1 %; until it falls, nothing depends on the run's length."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        return self.rate * min(1.0, 0.01 + 0.99 * (1.0 - step / self.steps) / (1.0 - _LEVEL_SHARE))

    @property
    def last_part(self) -> int:
        """The step from which images are larger and the last resize is trained too."""
        return int(_SCALES[-2][0] * self.steps)

    def size(self, step: int, shape: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        """Choose the size that a batch of `shape` is trained at: small first, larger later."""
        scales = next(scales for share, scales in _SCALES if step < share * self.steps)
        scale = float(rng.choice(scales)) * float(rng.choice((1.0, 1.0, 1.12)))
        height, width = (max(4, round(side * scale / 14 + rng.uniform(-0.5, 0.5))) * 14 for side in shape)
        return height, width

    def rounds(self, step: int) -> tuple[int, int]:
        """First and last + 1 of the rounds that `step` draws from."""
        stop = _FIRST_ROUNDS + int(step * _PICTURES_OF_A_STEP / (self.reuse * ROUND))
        return max(0, stop - _WINDOW), stop


class Trainer:
    """Network, optimiser and averaged weights, and how they are saved and found again.

    A batch is shared out among `threads` copies of the network: operators this small gain less from threads of their
    own on a CPU.
    """

    def __init__(self, recipe: Recipe, size: NetworkSize, device: torch.device, threads: int = 1) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.step = recipe, device, 0
        self.network = NanoDepth(size).to(device)
        self.network.to(memory_format=torch.channels_last)  # in place
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self.optimisers = _optimisers(self.network, recipe.rate, recipe.decay)
        self._copies = [self.network, *(copy.deepcopy(self.network) for _ in range(threads - 1))]
        self._threads = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))

    def train_step(self, pool: Pool) -> dict[str, float]:
        """Make one step; return the parts of the loss."""
        rng = np.random.default_rng([self.recipe.seed, self.step])
        first, stop = self.recipe.rounds(self.step)
        pool.want(first, min(stop + _AHEAD, first + pool.slots))
        pool.wait(first, stop)
        shape = pool.shape(rng)
        size = self.recipe.size(self.step, SHAPES[shape], rng)
        count = max(8, round(_TOKENS_OF_A_BATCH / (size[0] * size[1] / 196) / 8) * 8)
        drawn = pool.draw(rng, shape, first, stop, count)
        copies = len(self._copies)
        shares = [Drawn(drawn.image[n::copies], drawn.depth[n::copies]) for n in range(copies)]
        parts = list(self._threads.map(self._gradients, self._copies, shares, repeat(size), rng.spawn(copies)))
        self._gather_gradients()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        rate = self.recipe.learning_rate(self.step)
        for optimiser, share in zip(self.optimisers, (_MUON_RATE, 1.0), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = share * rate
            optimiser.step()
        self._average()
        self.step += 1
        means = {key: sum(part[key] for part in parts) / len(parts) for key in parts[0]}
        return {**means, "norm": float(norm), "rate": rate, "images": count}

    def _gradients(
        self, network: NanoDepth, drawn: Drawn, size: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, float]:
        """Give a copy of the network the gradients of some images; returns the parts of the loss."""
        if network is not self.network:
            network.load_state_dict(self.network.state_dict())
        network.zero_grad(set_to_none=True)
        coarse = self.step < self.recipe.last_part
        batch = make_batch(drawn, size, rng)
        batch = type(batch)(*(part.to(self.device) for part in batch))
        if coarse:
            batch = coarse_truth(batch)
        with torch.autocast(self.device.type, torch.bfloat16):
            log_depth, sky = network(batch.image, coarse=coarse)
        loss, parts = total_loss(log_depth, sky, batch)
        loss.backward()
        return parts

    @torch.no_grad()
    def _gather_gradients(self) -> None:
        """Leave the mean of all copies' gradients in the network."""
        for mine, *others in zip(*(network.parameters() for network in self._copies), strict=True):
            for other in others:
                mine.grad += other.grad
            mine.grad /= len(self._copies)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.recipe.averaging, (1.0 + self.step) / (10.0 + self.step))
        for old, new in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            old.lerp_(new, 1.0 - keep)

    def save(self, folder: Path) -> None:
        """Write the state and the averaged weights, each whole or not at all."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        with atomic_write(folder / "state.pt") as temporary:
            torch.save(state, temporary)
        with atomic_write(folder / "model.safetensors") as temporary:
            save_file(official_weights(self.averaged), temporary)

    def load(self, folder: Path) -> None:
        """Resume from a saved state."""
        state = torch.load(folder / "state.pt", map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step = int(state["step"])

    def start_from(self, weights: Path) -> None:
        """Begin with the weights of a checkpoint in place of random ones."""
        known = {name.removeprefix("model."): value for name, value in load_file(weights, str(self.device)).items()}
        self.network.load_state_dict(known)  # half precision becomes float32
        self.averaged.load_state_dict(known)


def official_weights(network: nn.Module) -> dict[str, Tensor]:
    """Convert the weights to the names of published checkpoints, contiguous, on the CPU."""
    return {f"model.{name}": value.detach().cpu().contiguous() for name, value in network.state_dict().items()}


def _optimisers(network: NanoDepth, rate: float, decay: float) -> tuple[torch.optim.Optimizer, ...]:
    """Muon (Jordan et al., 2024) for the transformer's matrices, AdamW for all else.

    Muon's steps are orthogonal matrices, scaled to the size of AdamW's. Here the first 150 steps with it do what takes
    AdamW 230.
    """
    matrices = [p for p in network.backbone.pretrained.blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in network.parameters() if id(p) not in chosen]
    return (
        torch.optim.Muon(
            matrices, lr=_MUON_RATE * rate, weight_decay=decay, ns_steps=4, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=0.0),
    )


class _Log:
    """Lines to the terminal and to `log.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self._path, self._start = folder / "log.jsonl", time.time()

    def write(self, step: int, **values: float) -> None:
        """Append a record."""
        record = {"step": step, "seconds": round(time.time() - self._start, 1), **values}
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        text = " ".join(f"{key} {value:.4g}" for key, value in record.items())
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def run(options: argparse.Namespace, recipe: Recipe) -> None:
    """Train until the schedule or the time ends."""
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    trainer = Trainer(recipe, NANO, torch.device(options.device), options.threads)
    if (folder / "state.pt").exists():
        trainer.load(folder)
    elif options.start is not None:
        trainer.start_from(options.start)
    slots = _WINDOW + _AHEAD
    pool = Pool(options.pool or folder / "pool", slots)
    workers = renderers(pool.folder, slots, recipe.seed * 100_000_000, options.renderers)
    log, atlas = _Log(folder), make_atlas()
    with torch.inference_mode():
        unseen = UnseenScenes(options.scenes, atlas)
        if trainer.step == 0:
            ends = fit_ramp(UnseenScenes(options.scenes, atlas, RAMP_SEED))
            for name, scores in (("constant", unseen.score(ramp(1, 1))), ("ramp", unseen.score(ramp(*ends[:2])))):
                log.write(0, **{f"{name}_abs_rel": scores.abs_rel, f"{name}_delta1": scores.delta1})
    try:
        _train(trainer, pool, unseen, log, options)
    finally:
        for worker in workers:
            worker.terminate()


def _train(trainer: Trainer, pool: Pool, unseen: UnseenScenes, log: _Log, options: argparse.Namespace) -> None:
    start = checked = time.monotonic()
    sums: dict[str, float] = {}
    steps = 0
    while trainer.step < trainer.recipe.steps and time.monotonic() - start < 60 * options.minutes:
        for key, value in trainer.train_step(pool).items():
            sums[key] = sums.get(key, 0.0) + value
        steps += 1
        if steps == 50:
            log.write(trainer.step, **{key: value / steps for key, value in sums.items()})
            sums, steps = {}, 0
        if time.monotonic() - checked > 60 * options.check_minutes:
            scores = evaluate(trainer.averaged, unseen, options.scale)
            log.write(trainer.step, abs_rel=scores.abs_rel, delta1=scores.delta1, sky_iou=scores.sky_iou)
            trainer.save(options.folder)
            checked = time.monotonic()
    scores = evaluate(trainer.averaged, unseen, options.scale)
    log.write(trainer.step, abs_rel=scores.abs_rel, delta1=scores.delta1, sky_iou=scores.sky_iou)
    trainer.save(options.folder)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--start", type=Path, default=None, help="model.safetensors to begin with, and another --seed")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--check-minutes", type=float, default=4.0, help="time between evaluations, which also save")
    parser.add_argument("--scenes", type=int, default=160, help="unseen scenes to evaluate on")
    parser.add_argument("--scale", type=float, default=0.667, help="size of evaluation images, of the rendered size")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="that share a batch; 1 with --device cuda")
    parser.add_argument("--renderers", type=int, default=1, help="processes that render")
    parser.add_argument("--pool", type=Path, default=None, help="folder of the rendered scenes (default: FOLDER/pool)")
    options = parser.parse_args()
    run(options, Recipe(**{name: getattr(options, name) for name in asdict(Recipe())}))


if __name__ == "__main__":
    main()
