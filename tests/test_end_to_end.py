"""The whole way on weights that mean something: scenes whose depth is known, as files, to depth by `da3-nano`.

Each bound is on the median scene and leaves the weights room: these tests are about the way, and the network is small.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.jobs.demo import abs_rel, demo_resolution
from depth_anything_3.prediction import Prediction
from depth_anything_3.scenes import Atlas, Rendering, make_atlas, render, render_large
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.faulty_decoder import EXACT, FaultyDecoder

SEEDS = range(1_000_000_100, 1_000_000_112)  # far above those of training
SIZE = (336, 448)


@dataclass
class Scene:
    """What was drawn, its file, and the depth and sky found, at the size of the picture."""

    drawn: Rendering
    file: bytes
    depth: np.ndarray
    sky: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        return self.drawn.depth[0].numpy()

    @property
    def ground(self) -> np.ndarray:
        return np.isfinite(self.truth)


def jpeg(drawn: Rendering) -> bytes:
    file = io.BytesIO()
    Image.fromarray(drawn.image[0].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=95)
    return file.getvalue()


def full_size(prediction: Prediction, size: tuple[int, int]) -> np.ndarray:
    return 1.0 / cv2.resize(1.0 / prediction.depth[0], size[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def nano() -> DepthAnything3:
    return DepthAnything3.from_pretrained("da3-nano", "cpu")


@pytest.fixture(scope="module")
def resolution(nano) -> int:
    return demo_resolution(nano)


@pytest.fixture(scope="module")
def textures() -> Atlas:
    """As many as in training."""
    return make_atlas()


@pytest.fixture(scope="module")
def scenes(nano, resolution, textures) -> list[Scene]:
    with torch.inference_mode():
        drawn = [render([seed], SIZE, textures) for seed in SEEDS]
    files = [jpeg(one) for one in drawn]
    found = nano.depth(files, process_res=resolution)
    skies = [cv2.resize(one.sky[0].astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST) > 0 for one in found]
    depths = [full_size(one, SIZE) for one in found]
    return [Scene(*parts) for parts in zip(drawn, files, depths, skies, strict=True)]


def test_depth_is_the_true_one_up_to_a_factor(scenes):
    errors = [abs_rel(scene.depth.astype(np.float32), scene.truth) for scene in scenes]
    assert np.median(errors) < 0.125
    flat = [abs_rel(np.ones(SIZE, np.float32), scene.truth) for scene in scenes]
    assert np.median(errors) < 0.4 * np.median(flat)


def test_what_is_nearer_gets_a_smaller_depth(scenes):
    """Of pairs of pixels of which one is half as far again as the other."""
    rng, right = np.random.default_rng(0), []
    for scene in scenes:
        truth, depth = scene.truth[scene.ground], scene.depth[scene.ground]
        one, other = rng.integers(0, len(truth), (2, 20_000))
        far = truth[one] > 1.5 * truth[other]
        right.append((depth[one] > depth[other])[far].mean())
    assert np.median(right) > 0.97


def test_the_sky_is_found_and_is_far(scenes):
    found = np.array([scene.sky for scene in scenes])
    true = ~np.array([scene.ground for scene in scenes])
    assert (found & true).sum() / (found | true).sum() > 0.95
    for scene in scenes:
        if scene.sky.mean() > 0.05:
            assert np.median(scene.depth[scene.sky]) >= np.percentile(scene.depth[~scene.sky], 95)


def test_planes_are_planar(scenes):
    """The reciprocal depth of a plane is linear in the rays of the true camera."""
    planar, flat = [], []
    for scene in scenes:
        rays = pixel_rays(scene.drawn)
        on = largest_plane(scene, rays)
        depth, rays = scene.depth[on], rays[on]
        plane = np.linalg.lstsq(rays, 1.0 / depth, rcond=None)[0]
        planar.append(np.median(np.abs(depth * (rays @ plane) - 1.0)))
        flat.append(np.median(np.abs(np.median(depth) / depth - 1.0)))
    assert np.median(planar) < 0.025
    assert np.median(planar) < 0.2 * np.median(flat)


def pixel_rays(drawn: Rendering) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return np.stack([columns, rows, np.ones(SIZE)], -1) @ np.linalg.inv(drawn.intrinsics[0].numpy()).T


def largest_plane(scene: Scene, rays: np.ndarray) -> np.ndarray:
    """Pixels of one direction and one distance from the camera, as many as there are."""
    normal = scene.drawn.normal[0].permute(1, 2, 0).numpy()
    distance = (rays * np.where(scene.ground, scene.truth, 1.0)[..., None] * normal).sum(-1)
    steps = np.round(np.dstack([normal, distance]) / 0.05).astype(np.int64)  # of 3 degrees, of 5 cm
    kind = steps @ np.array([1, 1 << 8, 1 << 16, 1 << 24])
    values, counts = np.unique(kind[scene.ground], return_counts=True)
    return scene.ground & (kind == values[counts.argmax()])


# Stability


def change(ours: Prediction, theirs: Prediction) -> np.ndarray:
    assert ours.depth.shape == theirs.depth.shape
    return np.abs(ours.depth / theirs.depth - 1.0)


@pytest.fixture(scope="module")
def usual(nano, scenes, resolution) -> list[Prediction]:
    return nano.depth([scene.file for scene in scenes[:4]], process_res=resolution)


@pytest.mark.parametrize("strategy", [Strategy.GPU_DECODE, Strategy.HYBRID, Strategy.FULL_GPU])
def test_depth_does_not_depend_on_the_strategy(nano, scenes, usual, resolution, monkeypatch, strategy):
    """With a stand-in for the GPU, whose decoder gives the CPU's pixels."""
    capabilities = Capabilities("cuda", "stand-in", (EXACT,), jpeg_engines=1)
    with GPUInputProcessor("cpu", capabilities=capabilities, open_decoder=lambda *_: FaultyDecoder()) as processor:
        monkeypatch.setattr(DepthAnything3, "input_processor", processor)
        found = nano.depth([scene.file for scene in scenes[:4]], process_res=resolution, strategy=strategy)
    assert {one.choices[0].strategy for one in found} == {strategy}
    for ours, theirs in zip(found, usual, strict=True):
        # A sample may be rounded another way: one level of 255.
        assert change(ours, theirs).max() < 0.02


@pytest.mark.parametrize("workers", [1, 4])
def test_depth_does_not_depend_on_the_number_of_workers(nano, scenes, usual, resolution, workers):
    found = nano.depth([scene.file for scene in scenes[:4]], process_res=resolution, num_workers=workers)
    for ours, theirs in zip(found, usual, strict=True):
        np.testing.assert_array_equal(ours.depth, theirs.depth)


def test_depth_does_not_depend_on_what_else_is_in_the_batch(nano, scenes, usual, resolution):
    files = [scene.file for scene in reversed(scenes)]
    found = nano.depth(files, process_res=resolution, batch_size=8)[:-5:-1]
    for ours, theirs in zip(found, usual, strict=True):
        assert change(ours, theirs).max() < 1e-3  # sums in another order
        assert (ours.sky == theirs.sky).mean() > 0.999


@pytest.mark.parametrize("fidelity", ["high", "fast"])
def test_less_fidelity_costs_a_known_share_of_depth(nano, resolution, fidelity, large_file):
    exact, found = (nano.depth([large_file], process_res=resolution, fidelity=one)[0] for one in ("exact", fidelity))
    assert not np.array_equal(found.processed_images, exact.processed_images)  # it was decoded at a part of its size
    changes = change(found, exact)
    assert np.median(changes) < 0.01
    assert np.percentile(changes, 99) < 0.05


@pytest.fixture(scope="module")
def large_file(textures) -> bytes:
    return jpeg(render_large(SEEDS[3], (756, 1344), textures))
