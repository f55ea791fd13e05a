"""Frames of one shot are recognised, and cuts between shots."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from depth_anything_3.inference.video.shot_detection import is_same_shot, thumbnail
from support.depth_frames import FRAME_HW, frame_image

HEIGHT, WIDTH = FRAME_HW


def test_a_camera_that_turns_is_no_cut():
    wide = np.hstack([frame_image(12), frame_image(13)])
    views = [np.ascontiguousarray(wide[:, start : start + WIDTH]) for start in range(0, WIDTH, 6)]
    assert all(is_same_shot(thumbnail(a), thumbnail(b)) for a, b in pairwise(views))
    assert not is_same_shot(thumbnail(views[0]), thumbnail(views[-1]))


def test_black_images_are_alike_and_unlike_others():
    black = thumbnail(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert is_same_shot(black, black)
    assert not is_same_shot(black, thumbnail(frame_image(0)))
    assert not is_same_shot(thumbnail(frame_image(0)), black)
