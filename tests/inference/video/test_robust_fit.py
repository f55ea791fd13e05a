"""A robust fit finds scale and shift in spite of outliers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.inference.video.robust_fit import fit_scale_shift
from support.depth_frames import FRAME_HW, frame_depth

SEEDS = st.integers(0, 10_000)


@given(SEEDS, st.floats(0.6, 1.7), st.floats(-0.04, 0.2))
@settings(max_examples=25)
def test_a_scale_and_shift_are_found_exactly(seed, scale, shift):
    near = 1 / frame_depth(seed)
    found = fit_scale_shift(near, scale * near + shift)
    np.testing.assert_allclose(found, (scale, shift), atol=2e-5)


def test_things_that_move_do_not_disturb_the_fit():
    near = 1 / frame_depth(1)
    target = 1.1 * near + 0.02
    target[20:70, 20:80] = 0.9  # something large stepped in front: a third of the image
    np.testing.assert_allclose(fit_scale_shift(near, target), (1.1, 0.02), atol=1e-5)


def test_a_wall_gives_a_scale_and_no_shift():
    wall = np.full(FRAME_HW, 0.5)
    assert fit_scale_shift(wall, 1.2 * wall) == pytest.approx((1.2, 0.0))


def test_too_few_known_pixels_change_nothing():
    near = np.full(FRAME_HW, np.nan)
    near[:2, :2] = 1.0
    assert fit_scale_shift(near, near * 2) == (1.0, 0.0)
