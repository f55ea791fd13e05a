"""Damaged videos give frames or an error of the package."""

from __future__ import annotations

import random

import numpy as np
import pytest

from depth_anything_3.errors import VideoReadError
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.video import open_source
from support.clips import write_clip
from support.mutations import damaged

_FRAMES = 6
_FILES = 60  # of each kind


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "ts"])
def test_a_damaged_video_gives_frames_or_a_package_error(tmp_path, kind):
    pytest.importorskip("av")
    whole = write_clip(tmp_path / f"video.{kind}", frames=_FRAMES, options={"g": "3"}).read_bytes()
    rng, outcomes = random.Random(kind), {"frames": 0, "refused": 0}
    for number in range(_FILES):
        try:
            with open_source(damaged(whole, rng), on_error=rng.choice(list(OnError))) as source:
                for frame in source:
                    assert frame.image.dtype == np.uint8
                    assert frame.image.shape[2] == 3
                    assert np.isfinite(frame.time)
            outcomes["frames"] += 1
        except VideoReadError as error:
            assert str(error).startswith("video ("), number
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0
