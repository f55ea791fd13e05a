"""The images of `da3 demo` are what their script draws."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.jobs.demo import DemoImage, demo_images
from depth_anything_3.prediction.focal_length import exif_focal_length
from draw_demo_images import DEPTH_STEP, SCENES, SIZE, draw_demo_image
from scenes import Atlas, make_atlas, render_large

NAME = "hall"


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    """The textures of the shipped images: all pages."""
    return make_atlas()


@pytest.fixture(scope="module")
def shipped() -> DemoImage:
    (image,) = (one for one in demo_images() if one.path.stem == NAME)
    return image


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file).astype(np.float32)


def test_every_scene_is_shipped() -> None:
    assert [image.path.stem for image in demo_images()] == list(SCENES)


def test_a_small_rendering_shows_the_shipped_scene(shipped: DemoImage, atlas: Atlas) -> None:
    small = (SIZE[0] // DEPTH_STEP, SIZE[1] // DEPTH_STEP)
    drawn = render_large(SCENES[NAME], small, atlas)
    # The centres of small pixels are half a large pixel from those of the stored depth, which matters at edges alone.
    difference = np.abs(drawn.depth[0].numpy() / shipped.depth_m - 1)
    assert np.median(difference) < 1e-3
    assert (difference > 0.05).mean() < 5e-3
    reduced = cv2.resize(pixels(shipped.path), small[::-1], interpolation=cv2.INTER_AREA)
    # Noise and blur are of the size of a pixel, so they differ; in levels.
    assert np.abs(reduced - drawn.image[0].permute(1, 2, 0).numpy()).mean() < 5
    with Image.open(shipped.path) as file:
        focal_px = exif_focal_length(file.info["exif"], SIZE).pixels
    assert focal_px == pytest.approx(DEPTH_STEP * float(drawn.intrinsics[0, 0, 0]), rel=1e-4)
    assert torch.get_num_threads() == 1  # of this thread: rendering leaves it as it was


@pytest.mark.slow
def test_drawing_again_gives_the_shipped_files(shipped: DemoImage, atlas: Atlas, tmp_path: Path) -> None:
    jpeg, depth_png = draw_demo_image(NAME, tmp_path, atlas)
    # Other processors round otherwise: a level here and there, other noise of JPEG around it.
    difference = np.abs(pixels(jpeg) - pixels(shipped.path))
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) <= 8
    shipped_png = shipped.path.parent / "depth_png" / f"{NAME}.png"
    with Image.open(depth_png) as drawn, Image.open(shipped_png) as there:
        assert drawn.info["depth_unit"] == there.info["depth_unit"] == "metre"
        assert float(drawn.info["depth_scale"]) == pytest.approx(float(there.info["depth_scale"]), rel=1e-4)
        steps = np.abs(np.asarray(drawn).astype(int) - np.asarray(there).astype(int))
    assert np.percentile(steps, 99.9) <= 8  # of 65,535


def test_another_size_has_the_same_lens(atlas: Atlas, tmp_path: Path) -> None:
    size = (112, 192)
    jpeg, depth_png = draw_demo_image(NAME, tmp_path, atlas, size)
    with Image.open(jpeg) as file, Image.open(depth_png) as depth:
        assert (file.size, depth.size) == (size[::-1], (24, 14))
        small = exif_focal_length(file.info["exif"], size).pixels
    with Image.open(demo_images()[2].path) as file:
        large = exif_focal_length(file.info["exif"], SIZE).pixels
    assert small / size[1] == pytest.approx(large / SIZE[1], rel=1e-4)
