"""The whole pipeline on weights that mean something: `da3-nano` on files of rendered scenes whose depth is known.

The scenes are those of `da3 demo`, smaller, and once more mirrored. Each bound is on the median scene and leaves the
weights room: these tests are about the pipeline, and the network is small.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.jobs.demo import DemoImage, abs_rel, demo_images
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.focal_length import exif_focal_length
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.faulty_decoder import EXACT, FaultyDecoder

FILE_SIZE = (540, 960)
SIZE = (270, 480)  # of the true depth


@dataclass
class Scene:
    """An image file, its true depth and focal length, and the depth and sky found, at the size of the truth."""

    file: bytes
    truth: np.ndarray
    focal_px: float
    depth: np.ndarray
    sky: np.ndarray

    @property
    def ground(self) -> np.ndarray:
        return np.isfinite(self.truth)


def read(image: DemoImage) -> tuple[np.ndarray, float]:
    """The pixels of an image at the size of the tests' files, and its focal length in pixels of the true depth."""
    with Image.open(image.path) as file:
        focal_px = exif_focal_length(file.info["exif"], file.size[::-1]).pixels
        focal_px *= SIZE[1] / file.width
        file.draft("RGB", (FILE_SIZE[1], FILE_SIZE[0]))
        return np.asarray(file.resize((FILE_SIZE[1], FILE_SIZE[0]), Image.Resampling.BOX)), focal_px


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def full_size(prediction: Prediction, size: tuple[int, int]) -> np.ndarray:
    return 1.0 / cv2.resize(1.0 / prediction.depth[0], size[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def nano() -> DepthAnything3:
    return DepthAnything3.from_pretrained("da3-nano", "cpu")


@pytest.fixture(scope="module")
def resolution(nano) -> int:
    return nano.card.best_process_res


@pytest.fixture(scope="module")
def scenes(nano, resolution) -> list[Scene]:
    images = demo_images()
    seen = [(*read(image), image.depth_m) for image in images]
    seen += [(pixels[:, ::-1], focal_px, truth[:, ::-1]) for pixels, focal_px, truth in seen]
    files = [jpeg(pixels) for pixels, _, _ in seen]
    found = nano.depth(files, process_res=resolution)
    skies = [cv2.resize(one.sky[0].astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST) > 0 for one in found]
    return [
        Scene(file, truth, focal_px, full_size(prediction, SIZE), sky)
        for file, (_, focal_px, truth), prediction, sky in zip(files, seen, found, skies, strict=True)
    ]


def test_depth_is_the_true_one_up_to_a_factor(scenes):
    errors = [abs_rel(scene.depth.astype(np.float32), scene.truth) for scene in scenes]
    assert np.median(errors) < 0.15
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
    assert (found & true).sum() / (found | true).sum() > 0.8  # leaves stand before it
    for scene in scenes:
        if scene.sky.mean() > 0.05:
            assert np.median(scene.depth[scene.sky]) >= np.percentile(scene.depth[~scene.sky], 95)


def test_planes_are_planar(scenes):
    """The reciprocal depth of a plane is linear in the rays of the true camera."""
    planar, flat = [], []
    for scene in scenes:
        rays = pixel_rays(scene.focal_px)
        on = largest_plane(scene, rays)
        depth, rays = scene.depth[on], rays[on]
        plane = np.linalg.lstsq(rays, 1.0 / depth, rcond=None)[0]
        planar.append(np.median(np.abs(depth * (rays @ plane) - 1.0)))
        flat.append(np.median(np.abs(np.median(depth) / depth - 1.0)))
    assert np.median(planar) < 0.025
    assert np.median(planar) < 0.2 * np.median(flat)


def pixel_rays(focal_px: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return np.dstack([(columns - SIZE[1] / 2) / focal_px, (rows - SIZE[0] / 2) / focal_px, np.ones(SIZE)])


def largest_plane(scene: Scene, rays: np.ndarray) -> np.ndarray:
    """Pixels of one direction and one distance from the camera, as many as there are.

    On a plane n.p = d the inverse depth is n/d times the ray, so its slopes along the rays give n/d.
    """
    inverse = 1.0 / scene.truth.astype(np.float64)
    across, down = (cv2.blur(np.gradient(inverse, axis=axis), (5, 5)) * scene.focal_px for axis in (1, 0))
    plane = np.dstack([across, down, inverse - across * rays[..., 0] - down * rays[..., 1]])
    length = np.linalg.norm(plane, axis=-1)
    known = scene.ground & (length > 0)
    distance = np.where(known, 1.0 / np.maximum(length, 1e-9), 0.0)
    steps = np.round(np.dstack([plane * distance[..., None], distance]) / 0.05).astype(np.int64)  # 3 degrees, 5 cm
    kind = steps @ np.array([1, 1 << 8, 1 << 16, 1 << 24])
    values, counts = np.unique(kind[known], return_counts=True)
    return known & (kind == values[counts.argmax()])


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
        monkeypatch.setattr(Engine, "input_processor", processor)
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
def large_file() -> bytes:
    return demo_images()[2].path.read_bytes()
