"""Orientation and lens are found wherever software writes them, and alike for a path, bytes and a PIL image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.exif import read_lens
from depth_anything_3.inputs.options import PreprocessOptions
from support.images import write
from support.metadata_files import TURNS, MetadataFile, metadata_files

FILES = metadata_files()
APPLY, IGNORE = (ImagePreparer(PreprocessOptions(process_res=56, exif=exif)) for exif in ("apply", "ignore"))


def read(preparer, image):
    """The orientation of an image, its pixels as the preparer stores them, and its lens."""
    opened = preparer.open(0, image)
    pixels = np.asarray(preparer.decode(opened).data)
    return opened.plan.orientation, pixels, read_lens(opened.exif).get(0xA405)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged blocks
@pytest.mark.parametrize("file", FILES, ids=str)
def test_orientation_and_lens_are_those_of_the_file_in_every_form(file: MetadataFile, tmp_path):
    path = write(tmp_path / f"image{file.suffix}", file.data)
    opened = Image.open(io.BytesIO(file.data))
    forms = {"path": path, "bytes": file.data, "PIL": opened, "PIL, again": opened}
    if file.as_pil:
        loaded = Image.open(io.BytesIO(file.data))
        loaded.load()
        forms |= {"PIL, loaded": loaded}
    if "20 MB" in file.name:
        forms = {"path": path, "bytes": file.data}  # Pillow refuses it
    upright = np.ascontiguousarray(TURNS[file.orientation](file.stored))
    for form, image in forms.items():
        orientation, pixels, lens = read(APPLY, image)
        assert np.abs(pixels.astype(int) - file.stored).max() <= file.levels, form
        assert orientation == APPLY._plan(file.stored.shape[:2], file.orientation, "").orientation, form
        assert lens == (28 if file.lens else None), form
        assert APPLY(0, image).plan.source_hw == upright.shape[:2], form
        orientation, pixels, _ = read(IGNORE, image)
        assert orientation == IGNORE._plan(file.stored.shape[:2], 1, "").orientation, form
        assert np.abs(pixels.astype(int) - file.stored).max() <= file.levels, form
