from __future__ import annotations

import numpy as np

from depth_anything_3.inputs.resample.normalize import MEAN, STD, normalize, normalized_levels
from support.preprocess_golden import golden_levels


def test_every_level_equals_the_reference_bit_for_bit():
    np.testing.assert_array_equal(normalized_levels().T, golden_levels())


def test_images_are_normalised_by_channel():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 14, 28), dtype=np.uint8)
    out = normalize(pixels, normalized_levels())
    wanted = (pixels / 255.0 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(out, wanted, atol=1e-6)
