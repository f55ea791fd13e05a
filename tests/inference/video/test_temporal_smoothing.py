"""Temporal smoothing corrects scale and shift of each frame and restarts at cuts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from depth_anything_3.errors import InvalidInputError, ShapeMismatchError
from depth_anything_3.inference.video.temporal_smoothing import ScaleShiftSmoother, Temporal
from depth_anything_3.prediction import Prediction
from support.depth_frames import FRAME_HW, frame_depth, frame_image

HEIGHT, WIDTH = FRAME_HW


def frame(depth: np.ndarray, image: np.ndarray, **more) -> Prediction:
    return Prediction(depth=depth[None].astype(np.float32), processed_images=image[None], **more)


def disturbed(depth: np.ndarray, scale: float, shift: float) -> np.ndarray:
    return 1 / (scale / depth + shift)


def flicker(depths: list[np.ndarray]) -> float:
    return float(np.mean([np.abs(later / earlier - 1).mean() for earlier, later in pairwise(depths)]))


def test_flicker_is_removed():
    truth, image, rng = frame_depth(2), frame_image(2), np.random.default_rng(0)
    shaken = [disturbed(truth, rng.normal(1, 0.1), rng.normal(0, 0.01)) for _ in range(40)]
    smoother = ScaleShiftSmoother()
    depths = [smoother(frame(one, image)).depth[0] for one in shaken]
    assert flicker(depths) < 0.15 * flicker(shaken)
    assert smoother.cuts == 0


def test_stable_depth_of_a_still_camera_is_unchanged_by_moving_objects():
    image = frame_image(3)
    smoother = ScaleShiftSmoother()
    for place in range(0, 60, 5):
        depth, seen = frame_depth(3), image.copy()
        depth[30:60, place : place + 30] = 1.0
        seen[30:60, place : place + 30] = (200, 30, 30)
        given_one = frame(depth, seen)
        assert smoother(given_one) is given_one
    assert smoother.cuts == 0


def test_a_pixel_keeps_its_depth_up_to_the_scale_and_shift_of_its_frame():
    truth, image = frame_depth(4), frame_image(4)
    smoother = ScaleShiftSmoother()
    smoother(frame(truth, image))
    moved = truth.copy()
    moved[10:30, 10:30] = 0.8
    result = smoother(frame(disturbed(moved, 1.2, 0.03), image)).depth[0]
    inverse, given_inverse = 1 / result, 1.2 / moved + 0.03
    scale, shift = np.polyfit(given_inverse.ravel(), inverse.ravel(), 1)
    np.testing.assert_allclose(inverse, scale * given_inverse + shift, rtol=1e-4)


@pytest.mark.parametrize("pair", [(5, 6), (7, 8), (9, 10)])
def test_a_cut_restarts_smoothing(pair):
    first, second = pair
    smoother = ScaleShiftSmoother()
    for _ in range(3):
        smoother(frame(frame_depth(first), frame_image(first)))
    after = frame(100 * frame_depth(second), frame_image(second))
    assert smoother(after) is after
    assert smoother.cuts == 1
    assert smoother(after) is after


@pytest.mark.parametrize("brightness", [0.3, 1.6, 2.5, 40])
def test_a_flash_is_no_cut(brightness):
    truth, image = frame_depth(11), frame_image(11)
    smoother = ScaleShiftSmoother()
    for _ in range(3):
        smoother(frame(truth, image))
    for _ in range(2):
        lit = np.clip(image * float(brightness), 0, 255).astype(np.uint8)
        smoother(frame(truth * 1.5, lit))
    after = smoother(frame(truth * 1.3, image)).depth[0]
    assert np.median(after / truth) < 1.12  # aligned to before the flash, not taken as it came


def test_sky_and_pixels_without_confidence_do_not_count():
    truth, image = frame_depth(14), frame_image(14)
    sky = np.zeros((1, HEIGHT, WIDTH), bool)
    sky[:, :40] = True
    conf = np.full((1, HEIGHT, WIDTH), 2.0, np.float32)
    conf[:, 40:60] = 1.0
    smoother = ScaleShiftSmoother()
    first = frame(truth, image, sky=sky, conf=conf)
    second = truth.copy()
    second[:60] *= 3  # two thirds of the image, none of which counts
    smoother(first)
    following = frame(second, image, sky=sky, conf=conf)
    assert smoother(following) is following


def test_places_without_depth_stay_without():
    truth, image = frame_depth(15), frame_image(15)
    truth[:10] = 0
    smoother = ScaleShiftSmoother()
    smoother(frame(truth, image))
    depth = smoother(frame(1.2 * truth, image)).depth[0]
    assert (depth[:10] == 0).all()
    assert (depth[10:] > 0).all()


def test_a_shift_never_makes_depth_negative_or_infinite():
    truth, image = frame_depth(16), frame_image(16)
    smoother = ScaleShiftSmoother()
    smoother(frame(truth, image))
    far = truth.copy()
    far[0] = 1e6
    depth = smoother(frame(disturbed(far, 1.0, 0.08), image)).depth[0]
    assert np.isfinite(depth).all()
    assert (depth > 0).all()


def test_another_size_restarts_smoothing():
    smoother = ScaleShiftSmoother()
    smoother(frame(frame_depth(17), frame_image(17)))
    other = frame(frame_depth(17)[:70] * 2, frame_image(17)[:70])
    assert smoother(other) is other


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_a_smoothing_out_of_range_is_rejected(smoothing):
    with pytest.raises(InvalidInputError, match="smoothing"):
        ScaleShiftSmoother(smoothing)


def test_several_views_are_rejected():
    depth = np.ones((2, 4, 4), np.float32)
    with pytest.raises(ShapeMismatchError, match="frame by frame"):
        ScaleShiftSmoother()(Prediction(depth=depth, processed_images=np.zeros((2, 4, 4, 3), np.uint8)))


def test_temporal_modes_have_names():
    assert [one.value for one in Temporal] == ["none", "ema", "window"]
    with pytest.raises(InvalidInputError, match="temporal='often' is unknown"):
        Temporal("often")
