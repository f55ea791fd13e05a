"""Measure the flicker of depth from frame to frame, with every mode of temporal smoothing.

    uv run python tools/demo_model/flicker.py                                   # da3-nano, which comes with the package
    uv run python tools/demo_model/flicker.py --model DA3-SMALL-FOLDER --window 16

A camera moves through static rendered scenes, so true depth and poses are known. Flicker is the mean relative change of
depth: each pixel is warped to the next frame by the truth, and the change of its predicted depth is compared with the
change of its true depth, over pixels that both frames show. "Error" is the mean relative error of depth after one scale
for the whole video: smoothing must not increase it. `--disturbed` replaces the network by the true depth with a random
scale and shift in every call.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from statistics import fmean

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is there

import cv2
import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.api import DepthAnything3, choose_device
from depth_anything_3.inference.video.temporal_smoothing import ScaleShiftSmoother
from depth_anything_3.inference.video.window_alignment import aligned_windows
from depth_anything_3.prediction import Prediction
from scenes import Clip, make_atlas, render_clip

FIRST_SEED = 1_000_000_000  # of scenes that no training has seen
_SAME = 0.01  # relative difference of depth at which a pixel of two frames shows the same point
_EDGE = 1.02  # ratio of depths of neighbours: at edges, a hundredth of a pixel decides what is seen

FloatArray = npt.NDArray[np.floating]


def flicker(clip: Clip, depths: Sequence[FloatArray]) -> float:
    """Mean relative change of depth on static pixels, from frame to frame, beyond the true one."""
    changes = []
    for early, late in zip(range(len(depths) - 1), range(1, len(depths)), strict=True):
        x, y, expected = _carried(clip, early, late)
        true = _sample(clip.depth[late], x, y)
        seen = (clip.depth[early] > 0) & _smooth(clip.depth[early]) & (_sample(_smooth(clip.depth[late]), x, y) > 0.99)
        seen &= np.abs(true / np.maximum(expected, 1e-6) - 1) < _SAME
        change = _sample(depths[late], x, y)[seen] / depths[early][seen]
        changes.append(np.abs(change / (expected[seen] / clip.depth[early][seen]) - 1).mean())
    return float(np.mean(changes))


def error(clip: Clip, depths: Sequence[FloatArray]) -> float:
    """Mean relative error of depth, after one scale for all frames."""
    known = clip.depth > 0
    ratio = np.stack(depths)[known] / clip.depth[known]
    return float(np.abs(ratio / np.median(ratio) - 1).mean())


def _carried(clip: Clip, early: int, late: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Compute the position and depth of one frame's pixels in another frame, by the truth."""
    height, width = clip.depth.shape[1:]
    rows, columns = np.mgrid[:height, :width] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(clip.intrinsics[early]).T
    points = rays * clip.depth[early][..., None]
    turn, shift = clip.extrinsics[early][:, :3], clip.extrinsics[early][:, 3]
    world = (points - shift) @ turn
    there = world @ clip.extrinsics[late][:, :3].T + clip.extrinsics[late][:, 3]
    depth = np.maximum(there[..., 2], 1e-6)
    pixels = there @ clip.intrinsics[late].T
    return pixels[..., 0] / depth - 0.5, pixels[..., 1] / depth - 0.5, depth


def _sample(values: npt.NDArray[np.generic], x: FloatArray, y: FloatArray) -> FloatArray:
    found = cv2.remap(
        values.astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderValue=-1.0
    )
    return np.asarray(found)


def _smooth(depth: FloatArray) -> npt.NDArray[np.bool_]:
    """Select the pixels that lie on one surface with their neighbours."""
    kernel = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(depth, kernel), cv2.dilate(depth, kernel)
    return np.asarray((near > 0) & (far < _EDGE * np.maximum(near, 1e-6)))


def by_truth(clip: Clip, temporal: str, window: int, rng: np.random.Generator) -> list[FloatArray]:
    """Return the truth with a random scale and shift (of inverse depth) per call, like a network's output.

    Of windows the scale alone: a shift leaves no poses that fit, and networks that see many views do not make it.
    """
    frames = range(len(clip.depth))
    if temporal == "window":
        views = aligned_windows(
            frames, lambda some: _scene(clip, some, rng.normal(1, 0.05)), size=window, overlap=window // 4
        )
        return [one.depth[0] for one in views]
    smoother = ScaleShiftSmoother() if temporal == "ema" else None
    predictions = [_frame(clip, one, rng.normal(1, 0.05), rng.normal(0, 0.03)) for one in frames]
    return [(smoother(one) if smoother else one).depth[0] for one in predictions]


def _frame(clip: Clip, number: int, scale: float, shift: float) -> Prediction:
    known = clip.depth[number] > 0
    inverse_depth = np.where(known, 1 / np.maximum(clip.depth[number], 1e-6), 0)
    usual = float(np.median(inverse_depth[known]))
    inverse_depth = np.maximum(scale * inverse_depth + shift * usual, 0.02 * usual)
    depth = np.where(known, 1 / inverse_depth, 0).astype(np.float32)
    return Prediction(depth=depth[None], processed_images=clip.images[[number]], sky=~known[None])


def _scene(clip: Clip, frames: Sequence[int], scale: float) -> Prediction:
    extrinsics = clip.extrinsics[frames].copy()
    extrinsics[:, :, 3] *= scale
    return Prediction(
        depth=(scale * clip.depth[frames]).astype(np.float32),
        extrinsics=extrinsics.astype(np.float32),
        intrinsics=clip.intrinsics[frames].astype(np.float32),
        sky=clip.depth[frames] == 0,
        processed_images=clip.images[frames],
    )


def by_network(model: DepthAnything3, clip: Clip, temporal: str, window: int) -> list[FloatArray]:
    """Depth of every frame as `stream_video` gives it, of the size of the truth."""
    options = {"temporal": temporal, "process_res": max(clip.depth.shape[1:])}
    return [one.depth[0] for _, one in model.stream_video(list(clip.images), window=window, **options)]


def main() -> None:
    """Render, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="da3-nano", help="a checkpoint; or a preset with --random-weights")
    parser.add_argument("--random-weights", action="store_true", help="seeded, with the preset's architecture")
    parser.add_argument("--disturbed", action="store_true", help="the truth, disturbed, instead of a network")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    model = None if options.disturbed else _load(options)
    modes = ["none", "ema", *(["window"] if model is None or model.card.has_poses else [])]
    results: dict[str, list[tuple[float, float]]] = {mode: [] for mode in modes}
    atlas = make_atlas()
    for seed in range(FIRST_SEED, FIRST_SEED + options.scenes):
        clip = render_clip(seed, options.frames, (196, 252), atlas)
        for mode in modes:
            if model is None:
                depths = by_truth(clip, mode, options.window, np.random.default_rng(seed))
            else:
                depths = by_network(model, clip, mode, options.window)
            results[mode].append((flicker(clip, depths), error(clip, depths)))
        print(
            seed, *(f"{mode} {100 * rows[-1][0]:.2f} % ({100 * rows[-1][1]:.1f} %)" for mode, rows in results.items())
        )
    print("mean over scenes: flicker (error)")
    for mode, rows in results.items():
        print(f"{mode}: {100 * fmean(one for one, _ in rows):.2f} % ({100 * fmean(one for _, one in rows):.1f} %)")


def _load(options: argparse.Namespace) -> DepthAnything3:
    device = choose_device(options.device)
    if not options.random_weights:
        return DepthAnything3.from_pretrained(options.model, device)
    torch.manual_seed(0)
    return DepthAnything3(options.model).to(device).eval().requires_grad_(False)


if __name__ == "__main__":
    main()
