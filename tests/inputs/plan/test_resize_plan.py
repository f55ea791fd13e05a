from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depth_anything_3.errors import ImageSizeError, InvalidInputError
from depth_anything_3.inputs.choices import ProcessResMethod
from depth_anything_3.inputs.plan.resize_plan import Interpolation, plan_resize
from support.preprocess_golden import case_id, geometry_cases

METHODS = [method.value for method in ProcessResMethod]


@pytest.mark.parametrize("case", geometry_cases(), ids=case_id)
def test_sizes_and_intrinsics_equal_the_reference(case):
    size = (case["height"], case["width"])
    if case["degenerate"]:
        with pytest.raises(ImageSizeError, match=f"{case['width']}x{case['height']}"):
            plan_resize(size, case["process_res"], case["method"])
        return
    plan = plan_resize(size, case["process_res"], case["method"])
    assert plan.result_hw == tuple(case["out_hw"])
    assert all(step.interpolation is Interpolation.AREA for step in plan.steps) == case["area_only"]
    matrix = np.array(case["intrinsics_in"], case["intrinsics_dtype"])
    before = matrix.copy()
    result = plan.transform_intrinsics(matrix)
    assert result.dtype == matrix.dtype
    np.testing.assert_allclose(result, case["intrinsics_out"], rtol=1e-6)
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.parametrize(
    ("size", "bounded"),
    [
        pytest.param((1080, 1920), (284, 504), id="283.5 goes to the even 284"),
        pytest.param((5, 1008), (2, 504), id="2.5 goes to the even 2"),
        pytest.param((345, 720), (241, 504), id="just below the tie in doubles"),
        pytest.param((13, 208), (31, 504), id="the quotient is rounded first"),
        pytest.param((600, 1), (504, 1), id="never below one"),
    ],
)
def test_first_resize_rounds_as_the_reference_does(size, bounded):
    # Cropping to multiples of 14 leaves the first resize to be seen; thin results are refused, so widen them first.
    try:
        plan = plan_resize(size, 504, "upper_bound_crop")
    except ImageSizeError as error:
        assert f"becomes {bounded[1] // 14 * 14}x{bounded[0] // 14 * 14}" in str(error)
    else:
        assert plan.resized_hw == bounded


def test_half_patches_round_up_and_odd_margins_are_at_the_end():
    assert plan_resize((503, 505), 504, "upper_bound_resize").result_hw == (504, 504)
    crop = plan_resize((505, 503), 504, "upper_bound_crop").crop
    assert crop is not None
    assert (crop.top, crop.left, crop.height, crop.width) == (0, 6, 504, 490)
    assert plan_resize((511, 504), 511, "upper_bound_resize").result_hw == (518, 504)


def test_one_growing_axis_makes_both_cubic():
    plan = plan_resize((480, 854), 504)  # 283 x 504: the height shrinks to 280
    assert plan.steps[-1].interpolation is Interpolation.AREA
    plan = plan_resize((760, 1333), 518)  # 295 x 518: neither side grows
    assert [step.interpolation for step in plan.steps] == [Interpolation.AREA, Interpolation.AREA]
    plan = plan_resize((500, 600), 300)  # 250 x 300: to 252 x 294
    assert [step.interpolation for step in plan.steps] == [Interpolation.AREA, Interpolation.CUBIC]


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.integers(14, 1300), st.sampled_from(METHODS),
    st.integers(1, 8),
)  # fmt: skip
def test_every_plan_has_whole_patches_near_the_requested_size(size, process_res, method, orientation):
    try:
        plan = plan_resize(size, process_res, method, exif_orientation=orientation)
    except ImageSizeError:
        return
    assert plan.source_hw == (size if orientation < 5 else size[::-1])
    assert all(side % 14 == 0 and side >= 14 for side in plan.result_hw)
    bounded = max(plan.result_hw) if method.startswith("upper") else min(plan.result_hw)
    assert -14 < bounded - process_res <= 7


@pytest.mark.parametrize("process_res", [0, -5, 13, 504.0, "504", True, None])
def test_an_invalid_process_res_is_rejected(process_res):
    with pytest.raises(InvalidInputError, match="process_res"):
        plan_resize((480, 640), process_res)


def test_an_unknown_method_is_rejected_with_the_accepted_ones():
    with pytest.raises(
        InvalidInputError, match=r"process_res_method='stretch'.*'upper_bound_resize', .* or 'lower_bound_crop'"
    ):
        plan_resize((480, 640), 504, "stretch")


@pytest.mark.parametrize(
    ("size", "method", "hint"),
    [
        ((1200, 20), "upper_bound_crop", "less extreme"),
        ((3000, 1), "lower_bound_resize", "process_res_method='upper_bound_resize'"),
        ((0, 10), "upper_bound_resize", "empty"),
    ],
    ids=["too thin", "gigantic", "empty"],
)
def test_a_size_without_a_usable_result_is_rejected_with_a_hint(size, method, hint):
    with pytest.raises(ImageSizeError, match=hint):
        plan_resize(size, 504, method)
