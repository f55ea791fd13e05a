"""Damaged files give pixels or an error of the package. `campaign.py` tries a million."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.errors import DA3Error
from depth_anything_3.inputs.choices import ProcessResMethod
from depth_anything_3.inputs.limits import PATCH_SIZE
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from support.fuzz_target import Examiner
from support.mutations import mutated, seeds

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::Warning:PIL")


@cache
def examiner() -> Examiner:
    """Made once, but not where the tests are only collected."""
    return Examiner()


def examine(data: bytes) -> bool:
    return examiner()(data)


def test_the_undamaged_originals_decode():
    assert [place for place, data in enumerate(seeds()) if not examine(data)] == []


@settings(max_examples=1500)
@given(st.integers(0, 2**64))
def test_a_damaged_file_gives_pixels_or_a_package_error(number):
    examine(mutated(random.Random(number)))


@settings(max_examples=300)
@given(st.deferred(lambda: st.sampled_from(seeds())), st.data())
def test_a_file_with_changed_bytes_gives_pixels_or_a_package_error(data, draw):
    changed = bytearray(data[: draw.draw(st.integers(1, len(data)))])
    for place, value in draw.draw(
        st.dictionaries(st.integers(0, len(changed) - 1), st.integers(0, 255), max_size=6)
    ).items():
        changed[place] = value
    examine(bytes(changed))


@settings(max_examples=300)
@given(
    st.tuples(st.integers(1, 70_000), st.integers(1, 70_000)),
    st.integers(PATCH_SIZE, 4000),
    st.sampled_from(ProcessResMethod),
    st.integers(1, 8),
)
def test_a_plan_has_whole_patches_of_the_requested_size_or_is_rejected(stored_hw, process_res, method, turn):
    try:
        plan = plan_resize(stored_hw, process_res, method, exif_orientation=turn)
    except DA3Error:
        return
    height, width = plan.result_hw
    assert height % PATCH_SIZE == width % PATCH_SIZE == 0
    assert min(height, width) >= PATCH_SIZE
    if method.value.startswith("upper_bound"):
        assert max(height, width) <= process_res + PATCH_SIZE // 2
