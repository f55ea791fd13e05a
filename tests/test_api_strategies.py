"""`DepthAnything3` with a stand-in for the GPU and its processor."""

from __future__ import annotations

import numpy as np
import pytest

from depth_anything_3 import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.faulty_decoder import EXACT, FaultyDecoder
from support.images import jpeg

SMALL = {"process_res": 56}


@pytest.fixture
def with_stand_in(monkeypatch):
    capabilities = Capabilities("cuda", "stand-in", (EXACT,), jpeg_engines=1)
    decoder = FaultyDecoder()
    with GPUInputProcessor("cpu", capabilities=capabilities, open_decoder=lambda *_: decoder) as processor:
        monkeypatch.setattr(DepthAnything3, "input_processor", processor)
        yield decoder


@pytest.fixture(scope="module")
def files():
    return [jpeg(120, 90, 0), jpeg(90, 120, 1), photo(120, 90, 2), jpeg(120, 90, 3, progressive=True), b"?"]


def test_a_stream_by_every_strategy_equals_that_of_the_cpu(seeded_small, files, request):
    expected = seeded_small.depth(files, on_error="skip", **SMALL)
    assert {one.choices[0].strategy for one in expected} == {Strategy.CPU}
    decoder = request.getfixturevalue("with_stand_in")
    skipped = []
    found = list(seeded_small.stream(files, batch_size=2, on_error="skip", on_failure=skipped.append, **SMALL))
    ways = [Strategy.GPU_DECODE, Strategy.GPU_DECODE, Strategy.HYBRID, Strategy.HYBRID]
    assert [one.choices[0].strategy for one in found] == ways
    assert [one.index for one in skipped] == [4]
    assert decoder.calls
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.sources == theirs.sources
        np.testing.assert_array_equal(ours.processed_images, theirs.processed_images)
        np.testing.assert_allclose(ours.depth, theirs.depth, rtol=1e-4)


def test_views_keep_their_order_whatever_their_strategies(seeded_small, files, request):
    views = [files[3], files[0], files[2]]
    expected = seeded_small.inference(views, **SMALL)
    request.getfixturevalue("with_stand_in")
    found = seeded_small.inference(views, **SMALL)
    assert [one.strategy for one in found.choices] == [Strategy.HYBRID, Strategy.GPU_DECODE, Strategy.HYBRID]
    np.testing.assert_array_equal(found.processed_images, expected.processed_images)
    np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-4)
    assert found.seconds.keys() == {"decode", "resample", "network"}


def test_on_the_cpu_the_processor_is_reused_and_gpu_strategies_rejected(seeded_small, files):
    assert isinstance(seeded_small.input_processor, InputProcessor)
    assert seeded_small.input_processor is seeded_small.input_processor
    for call in (seeded_small.inference, seeded_small.depth):
        with pytest.raises(UnsupportedError, match="strategy='hybrid' needs a GPU"):
            call(files[:1], strategy="hybrid", **SMALL)
