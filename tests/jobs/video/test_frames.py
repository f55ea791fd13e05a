"""Frames that are image files are drawn as the network gets them."""

from __future__ import annotations

import numpy as np
import pytest

from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.video import Frame, FrameSelection
from depth_anything_3.jobs.video.frames import colorize_frame, extract_frames, pixels_of
from depth_anything_3.prediction import Prediction
from support.images import write
from support.metadata_files import TURNS, metadata_files

FILES = {file.name: file for file in metadata_files()}


@pytest.mark.parametrize("exif", ["apply", "ignore"])
@pytest.mark.parametrize("name", ["PNG, eXIf behind IDAT", "TIFF, {274: 6}, RGB", "JPEG 2000, Exif", "JPEG, Exif"])
def test_a_frame_beside_its_depth_has_the_same_orientation(tmp_path, name, exif):
    file, options = FILES[name], PreprocessOptions(exif=exif)
    path = write(tmp_path / f"0{file.suffix}", file.data)
    shown = TURNS[file.orientation](file.stored) if exif == "apply" else file.stored
    frame = Frame(path, 0.0, 0, 0.0)
    assert np.abs(pixels_of(frame, options).astype(int) - shown).max() <= file.levels
    prediction = Prediction(depth=np.ones((1, 28, 28), np.float32), processed_images=np.zeros((1, 28, 28, 3), np.uint8))
    prediction.source_hw = (shown.shape[:2],)
    both = colorize_frame(frame, prediction, None, side_by_side=True, full_size=True, preprocess=options)
    assert both.shape == (shown.shape[0], 2 * shown.shape[1], 3)
    (extracted,) = extract_frames([path], tmp_path / "views", FrameSelection(), preprocess=options)
    assert np.abs(pixels_of(Frame(extracted, 0.0, 0, 0.0)).astype(int) - shown).max() <= file.levels
