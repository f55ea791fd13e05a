from __future__ import annotations

import numpy as np
import torch
from preprocess_golden import golden_levels

from depth_anything_3.utils.io.normalize import MEAN, STD, normalize, normalize_on, normalized_levels


def test_every_level_equals_the_reference_bit_for_bit():
    np.testing.assert_array_equal(normalized_levels().T, golden_levels())


def test_pictures_are_normalised_by_channel():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 14, 28), dtype=np.uint8)
    out = normalize(pixels, normalized_levels())
    wanted = (pixels / 255.0 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(out, wanted, atol=1e-6)
    batch = normalize_on(torch.from_numpy(np.stack([pixels, pixels[:, ::-1]]))[:, None], torch.device("cpu"))
    assert batch.shape == (2, 1, 3, 14, 28)
    np.testing.assert_array_equal(batch[0, 0].numpy(), out)


def test_the_formula_used_on_other_devices_stays_within_its_stated_bound():
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[:, None]
    on_meta = normalize_on(levels, torch.device("meta"))
    assert on_meta.shape == (3, 1, 256)
    assert on_meta.dtype == torch.float32
    arithmetic = (levels.float() / 255.0 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    np.testing.assert_allclose(arithmetic.numpy()[:, 0], normalized_levels(), atol=5e-7)
