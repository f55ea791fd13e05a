"""Temporal smoothing corrects scale and shift of each frame and restarts at cuts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.errors import InvalidInputError, ShapeMismatchError
from depth_anything_3.inference.video.smoothing import (
    ScaleShiftSmoother,
    Temporal,
    fit_scale_shift,
    is_same_shot,
    thumbnail,
)
from depth_anything_3.prediction import Prediction

HEIGHT, WIDTH = 84, 112
SEEDS = st.integers(0, 10_000)


def picture_of(seed: int) -> np.ndarray:
    """Coloured blots of several sizes."""
    rng = np.random.default_rng(seed)
    total = np.zeros((HEIGHT, WIDTH, 3))
    for cells in (3, 6, 12, 24):
        coarse = rng.normal(size=(cells, cells, 3))
        rows, columns = (np.linspace(0, cells - 1, size).astype(int) for size in (HEIGHT, WIDTH))
        total += coarse[rows][:, columns]
    return np.clip(128 + 40 * total, 0, 255).astype(np.uint8)


def depth_of(seed: int) -> np.ndarray:
    """A floor that runs away from the camera, with a few boxes on it."""
    rng = np.random.default_rng(seed)
    depth = np.repeat(2.0 / np.linspace(0.1, 1.0, HEIGHT)[:, None], WIDTH, axis=1)
    for _ in range(6):
        top, left = rng.integers(0, HEIGHT - 20), rng.integers(0, WIDTH - 20)
        depth[top : top + 20, left : left + 20] = rng.uniform(1.5, 12)
    return depth.astype(np.float32)


def frame(depth: np.ndarray, picture: np.ndarray, **more) -> Prediction:
    return Prediction(depth=depth[None].astype(np.float32), processed_images=picture[None], **more)


def disturbed(depth: np.ndarray, scale: float, shift: float) -> np.ndarray:
    return 1 / (scale / depth + shift)


def flicker(depths: list[np.ndarray]) -> float:
    return float(np.mean([np.abs(later / earlier - 1).mean() for earlier, later in pairwise(depths)]))


@given(SEEDS, st.floats(0.6, 1.7), st.floats(-0.04, 0.2))
@settings(max_examples=25)
def test_a_scale_and_shift_are_found_exactly(seed, scale, shift):
    near = 1 / depth_of(seed)
    found = fit_scale_shift(near, scale * near + shift)
    np.testing.assert_allclose(found, (scale, shift), atol=2e-5)


def test_things_that_move_do_not_disturb_the_fit():
    near = 1 / depth_of(1)
    target = 1.1 * near + 0.02
    target[20:70, 20:80] = 0.9  # something large stepped in front: a third of the picture
    np.testing.assert_allclose(fit_scale_shift(near, target), (1.1, 0.02), atol=1e-5)


def test_a_wall_gives_a_scale_and_no_shift():
    wall = np.full((HEIGHT, WIDTH), 0.5)
    assert fit_scale_shift(wall, 1.2 * wall) == pytest.approx((1.2, 0.0))


def test_too_few_known_pixels_change_nothing():
    near = np.full((HEIGHT, WIDTH), np.nan)
    near[:2, :2] = 1.0
    assert fit_scale_shift(near, near * 2) == (1.0, 0.0)


def test_a_flickering_film_is_steadied():
    truth, picture, rng = depth_of(2), picture_of(2), np.random.default_rng(0)
    shaken = [disturbed(truth, rng.normal(1, 0.1), rng.normal(0, 0.01)) for _ in range(40)]
    steady = ScaleShiftSmoother()
    depths = [steady(frame(one, picture)).depth[0] for one in shaken]
    assert flicker(depths) < 0.15 * flicker(shaken)
    assert steady.cuts == 0


def test_a_still_camera_with_steady_depth_is_left_alone_though_things_move():
    picture = picture_of(3)
    steady = ScaleShiftSmoother()
    for place in range(0, 60, 5):
        depth, seen = depth_of(3), picture.copy()
        depth[30:60, place : place + 30] = 1.0
        seen[30:60, place : place + 30] = (200, 30, 30)
        given_one = frame(depth, seen)
        assert steady(given_one) is given_one
    assert steady.cuts == 0


def test_a_pixel_keeps_its_depth_up_to_the_scale_and_shift_of_its_frame():
    truth, picture = depth_of(4), picture_of(4)
    steady = ScaleShiftSmoother()
    steady(frame(truth, picture))
    moved = truth.copy()
    moved[10:30, 10:30] = 0.8
    result = steady(frame(disturbed(moved, 1.2, 0.03), picture)).depth[0]
    inverse_depth, given_nearness = 1 / result, 1.2 / moved + 0.03
    scale, shift = np.polyfit(given_nearness.ravel(), inverse_depth.ravel(), 1)
    np.testing.assert_allclose(inverse_depth, scale * given_nearness + shift, rtol=1e-4)


@pytest.mark.parametrize("pair", [(5, 6), (7, 8), (9, 10)])
def test_a_cut_begins_anew(pair):
    first, second = pair
    steady = ScaleShiftSmoother()
    for _ in range(3):
        steady(frame(depth_of(first), picture_of(first)))
    after = frame(100 * depth_of(second), picture_of(second))
    assert steady(after) is after
    assert steady.cuts == 1
    assert steady(after) is after


@pytest.mark.parametrize("brightness", [0.3, 1.6, 2.5, 40])
def test_a_flash_is_no_cut(brightness):
    truth, picture = depth_of(11), picture_of(11)
    steady = ScaleShiftSmoother()
    for _ in range(3):
        steady(frame(truth, picture))
    for _ in range(2):
        lit = np.clip(picture * float(brightness), 0, 255).astype(np.uint8)
        steady(frame(truth * 1.5, lit))
    after = steady(frame(truth * 1.3, picture)).depth[0]
    assert np.median(after / truth) < 1.12  # aligned to before the flash, not taken as it came


def test_a_camera_that_turns_is_no_cut():
    wide = np.hstack([picture_of(12), picture_of(13)])
    views = [np.ascontiguousarray(wide[:, start : start + WIDTH]) for start in range(0, WIDTH, 6)]
    assert all(is_same_shot(thumbnail(a), thumbnail(b)) for a, b in pairwise(views))
    assert not is_same_shot(thumbnail(views[0]), thumbnail(views[-1]))


def test_black_pictures_are_alike_and_unlike_others():
    black = thumbnail(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert is_same_shot(black, black)
    assert not is_same_shot(black, thumbnail(picture_of(0)))
    assert not is_same_shot(thumbnail(picture_of(0)), black)


def test_sky_and_pixels_without_confidence_do_not_count():
    truth, picture = depth_of(14), picture_of(14)
    sky = np.zeros((1, HEIGHT, WIDTH), bool)
    sky[:, :40] = True
    conf = np.full((1, HEIGHT, WIDTH), 2.0, np.float32)
    conf[:, 40:60] = 1.0
    steady = ScaleShiftSmoother()
    first = frame(truth, picture, sky=sky, conf=conf)
    second = truth.copy()
    second[:60] *= 3  # two thirds of the picture, none of which counts
    steady(first)
    following = frame(second, picture, sky=sky, conf=conf)
    assert steady(following) is following


def test_places_without_depth_stay_without():
    truth, picture = depth_of(15), picture_of(15)
    truth[:10] = 0
    steady = ScaleShiftSmoother()
    steady(frame(truth, picture))
    depth = steady(frame(1.2 * truth, picture)).depth[0]
    assert (depth[:10] == 0).all()
    assert (depth[10:] > 0).all()


def test_a_shift_never_makes_depth_negative_or_infinite():
    truth, picture = depth_of(16), picture_of(16)
    steady = ScaleShiftSmoother()
    steady(frame(truth, picture))
    far = truth.copy()
    far[0] = 1e6
    depth = steady(frame(disturbed(far, 1.0, 0.08), picture)).depth[0]
    assert np.isfinite(depth).all()
    assert (depth > 0).all()


def test_another_size_begins_anew():
    steady = ScaleShiftSmoother()
    steady(frame(depth_of(17), picture_of(17)))
    other = frame(depth_of(17)[:70] * 2, picture_of(17)[:70])
    assert steady(other) is other


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(smoothing):
    with pytest.raises(InvalidInputError, match="smoothing"):
        ScaleShiftSmoother(smoothing)


def test_several_views_are_refused():
    depth = np.ones((2, 4, 4), np.float32)
    with pytest.raises(ShapeMismatchError, match="frame by frame"):
        ScaleShiftSmoother()(Prediction(depth=depth, processed_images=np.zeros((2, 4, 4, 3), np.uint8)))


def test_the_ways_have_names():
    assert [one.value for one in Temporal] == ["none", "ema", "window"]
    with pytest.raises(InvalidInputError, match="temporal='often' is unknown"):
        Temporal("often")
