"""A prediction without a network, and a sink to write it."""

from __future__ import annotations

import numpy as np
import pytest

from depth_anything_3.export import parse_formats
from depth_anything_3.jobs.sinks import SinkOptions, open_sink
from depth_anything_3.jobs.sinks.place import place_of
from depth_anything_3.prediction import Prediction


@pytest.fixture
def prediction():
    depth = np.linspace(1, 2, 6 * 8, dtype=np.float32).reshape(1, 6, 8)
    return Prediction(depth=depth, model_name="tiny", sources=("a",), warnings=("a: odd",))


@pytest.fixture
def opened():
    def sink(folder, pack="files", *, formats="depth_png", settings=None, has_manifest=True, **options):
        chosen = SinkOptions(pack=pack, **options)
        given = {"model": "tiny", **(settings or {})}
        place = place_of(str(folder))
        return open_sink(place, parse_formats(formats), None, given, chosen, has_manifest=has_manifest)

    return sink
