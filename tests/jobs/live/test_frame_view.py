"""Camera and depth side by side, with colours that follow slowly."""

from __future__ import annotations

import numpy as np

from depth_anything_3.export.colormap import Colormap, colorize_depth
from depth_anything_3.jobs.live import FrameView
from depth_anything_3.prediction import Prediction

SEEN = np.full((1, 20, 30, 3), 77, np.uint8)


def prediction(scale: float = 1.0) -> Prediction:
    depth = np.linspace(1, 5, 600, dtype=np.float32).reshape(1, 20, 30) * scale
    return Prediction(depth=depth.astype(np.float32), processed_images=SEEN)


def test_camera_is_left_and_depth_right_in_the_colours_of_depth_vis():
    image = FrameView()(prediction(), 0.0)
    assert image.shape == (20, 60, 3)
    np.testing.assert_array_equal(image[:, :30], SEEN[0])
    np.testing.assert_array_equal(image[:, 30:], colorize_depth(prediction().depth[0]))


def test_the_range_of_colours_follows_slowly():
    draw = FrameView()
    first = draw(prediction(), 0.0)[:, 30:].astype(int)
    soon = draw(prediction(1.3), 1 / 30)[:, 30:].astype(int)
    at_once = colorize_depth(prediction(1.3).depth[0]).astype(int)
    np.testing.assert_array_equal(at_once, first)  # a range of its own hides that all is further away
    assert np.abs(soon - first).mean() > 5
    for time in np.arange(0, 8, 1 / 30):
        late = draw(prediction(1.3), 1 + time)[:, 30:].astype(int)
    assert np.abs(late - at_once).mean() < 1


def test_a_frame_without_depth_keeps_the_range():
    draw = FrameView()
    first = draw(prediction(), 0.0)
    nothing = Prediction(depth=np.zeros((1, 20, 30), np.float32), processed_images=SEEN)
    assert len(np.unique(draw(nothing, 0.1)[:, 30:].reshape(-1, 3), axis=0)) == 1
    np.testing.assert_array_equal(draw(prediction(), 0.1), first)


def test_nothing_known_at_all_is_drawn_far():
    nothing = Prediction(depth=np.zeros((1, 20, 30), np.float32), processed_images=SEEN)
    assert len(np.unique(FrameView()(nothing, 0.0)[:, 30:].reshape(-1, 3), axis=0)) == 1


def test_the_colours_are_chosen():
    image = FrameView(Colormap.GRAY)(prediction(), 0.0)
    np.testing.assert_array_equal(image[:, 30:], colorize_depth(prediction().depth[0], colormap="gray"))
