"""The corpus of difficult files, decoded into the memory of a real GPU by every strategy."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("pillow_heif", reason="the corpus has HEIC images")
pytest.importorskip("tifffile", reason="the corpus has TIFFs of many kinds")

from depth_anything_3.diagnostics.self_check import EXACT_DECODER_LEVELS
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.corpus.outcome import all_mistakes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.mark.parametrize("strategy", ["hybrid", "full_gpu", "cpu", "auto"])
def test_every_file_is_decoded_as_expected(cuda, strategy):
    with GPUInputProcessor(cuda) as processor:
        assert all_mistakes(processor, strategy, 1 if strategy != "auto" else EXACT_DECODER_LEVELS) == []


@pytest.mark.parametrize("resampler", ["triton", "torch"])
def test_every_file_is_decoded_as_expected_on_the_gpu(cuda, resampler):
    known = find_capabilities(cuda)
    exact = tuple(one for one in known.decoders if one.exact)
    if not exact or resampler not in known.resamplers:
        pytest.skip("no decoder that gives libjpeg's pixels, or no such resampler")
    with GPUInputProcessor(cuda, resampler=resampler, capabilities=replace(known, decoders=exact)) as processor:
        assert all_mistakes(processor, "gpu_decode", EXACT_DECODER_LEVELS) == []
