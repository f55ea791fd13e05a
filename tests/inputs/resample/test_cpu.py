"""The banded operators and the kernel that applies them, against OpenCV and the reference's own results."""

from __future__ import annotations

import importlib.util
import zlib

import cv2
import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageSizeError
from depth_anything_3.inputs.choices import ProcessResMethod
from depth_anything_3.inputs.compiled import jit
from depth_anything_3.inputs.plan.banded_operator import BandedOperator, ResamplePass, resample_passes
from depth_anything_3.inputs.plan.resize_plan import Interpolation, ResizePlan, plan_resize
from depth_anything_3.inputs.resample.cpu import Normalization, compile_passes, resample, resample_stepwise
from depth_anything_3.inputs.resample.normalize import normalized_levels
from support.images import largest_difference, psnr
from support.preprocess_golden import case_id, expected, golden_image, pixel_cases, sampled, usable_cases

METHODS = [method.value for method in ProcessResMethod]
LARGEST_TESTED_RESULT = 3_000_000  # pixels; above it a slow machine would only repeat what smaller ones show


def run(pixels: np.ndarray, plan: ResizePlan, *, fuse: bool = True, planar: bool = False) -> np.ndarray:
    """(H, W, 3) result of the operators."""
    return resample(pixels, compile_passes(resample_passes(plan, fuse=fuse)), planar=planar).transpose(1, 2, 0)


def check_against_stepwise(rgb: np.ndarray, plan: ResizePlan, *, area_only: bool) -> np.ndarray:
    """Hold both forms of the operators to the bounds stated for them; return OpenCV's result."""
    stepwise = resample_stepwise(rgb, plan)
    fused, apart = run(rgb, plan), run(rgb, plan, fuse=False)
    assert largest_difference(fused, stepwise) <= 1
    assert psnr(fused, stepwise) >= 54
    assert largest_difference(apart, stepwise) <= 1
    # A cubic's last bit differs between OpenCV's builds; measured here 0.04 %, 0.8 % with area steps (exact ties).
    assert (apart != stepwise).mean() <= (0.02 if area_only else 0.08)
    return stepwise


@pytest.mark.parametrize("case", pixel_cases(), ids=case_id)
def test_pixels_equal_the_reference(case):
    rgb = golden_image(case)
    plan = plan_resize(rgb.shape[:2], case["process_res"], case["method"])
    stepwise = check_against_stepwise(rgb, plan, area_only=case["area_only"])
    crc = zlib.crc32(stepwise.tobytes())
    if case["area_only"]:
        assert crc == case["crc32"]
    else:
        golden = expected(case)
        assert crc in (case["crc32"], case["plain_crc32"]) or largest_difference(sampled(case, stepwise), golden) <= 2
    assert largest_difference(sampled(case, run(rgb, plan)), expected(case)) <= 1 + (not case["area_only"])


@pytest.mark.slow
def test_every_golden_image_equals_the_reference():
    for case in usable_cases():
        plan = plan_resize((case["height"], case["width"]), case["process_res"], case["method"])
        if np.prod(plan.result_hw) > LARGEST_TESTED_RESULT:
            continue
        rgb = golden_image(case)
        stepwise = check_against_stepwise(rgb, plan, area_only=case["area_only"])
        if case["area_only"]:
            assert zlib.crc32(stepwise.tobytes()) == case["crc32"], case_id(case)
        fused = run(rgb, plan)
        tolerance = 0.1 if case["area_only"] or len(plan.steps) == 1 else 0.3
        np.testing.assert_allclose(fused.mean(axis=(0, 1)), case["mean"], atol=tolerance, err_msg=case_id(case))


sizes = st.one_of(st.integers(1, 64), st.integers(65, 700))


@settings(max_examples=120, deadline=None)
@given(sizes, sizes, st.integers(14, 400), st.sampled_from(METHODS), st.booleans(), st.integers(0, 2**16))
@example(3000, 14, 100, "lower_bound_resize", True, 0)
@example(15, 14, 300, "upper_bound_resize", True, 1)  # enlarged, then fitted: overshoot has to be clipped between
@example(1, 300, 14, "lower_bound_resize", False, 2)
@example(640, 480, 320, "upper_bound_crop", True, 3)  # exactly 2 by 2: halves go up
@example(660, 330, 220, "upper_bound_crop", True, 4)  # exactly 3 by 3
def test_operators_are_within_one_level_of_opencv(width, height, process_res, method, hard, seed):
    try:
        plan = plan_resize((height, width), process_res, method)
    except ImageSizeError:
        return
    if hard:  # black and white noise overshoots most
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)
    else:
        pixels = photo(width, height, seed)
    difference = np.abs(run(pixels, plan).astype(np.int16) - resample_stepwise(pixels, plan))
    enlarged_then_fitted = len(plan.steps) == 2 and plan.steps[0].interpolation is Interpolation.CUBIC
    assert difference.max() <= 1 + enlarged_then_fitted
    # Where OpenCV's first cubic rounds a near-tie differently (its own builds differ in that), the second step may
    # make two levels of it: a few samples in a million. Below 4 pixels a side OpenCV takes an engine with weights of
    # 1/2048, where it is more.
    if min(width, height) >= 4:
        assert (difference > 1).mean() < 1e-5


def dense(operator: BandedOperator) -> np.ndarray:
    matrix = np.zeros((len(operator.start), operator.source_size))
    for row, (start, count) in enumerate(zip(operator.start, operator.count, strict=True)):
        matrix[row, start : start + count] = operator.weights[row, :count]
    return matrix


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("times", [1, 2.3, 5, 6, 8, 8.4, 13, 17.5, 25])
def test_the_kernel_computes_the_product_of_matrices(times, channels):
    """Whichever of its loops carries it out: rows of one weight are added up, eight columns are taken at once."""
    rows, columns = (BandedOperator.area(round(n * times), n) for n in (11, 23))
    pixels = np.random.default_rng(6).integers(0, 256, (rows.source_size, columns.source_size, channels), np.uint8)
    found = resample(pixels if channels > 1 else pixels[..., 0], compile_passes([ResamplePass(rows, columns)]))
    product = np.einsum("yh,hwc,xw->cyx", dense(rows), pixels[..., :3], dense(columns))
    assert np.abs(found - product).max() < 0.5 + 1e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.booleans(), st.booleans())
def test_composed_and_reversed_operators_are_products_of_matrices(first, second, third, up_first, up_second):
    def make(source: int, result: int, cubic: bool) -> BandedOperator:
        return (BandedOperator.cubic if cubic or result > source else BandedOperator.area)(source, result)

    a, b = make(first, second, up_first), make(second, third, up_second)
    np.testing.assert_allclose(dense(a.then(b)), dense(b) @ dense(a), atol=1e-12)
    np.testing.assert_array_equal(dense(a.reversed()), dense(a)[:, ::-1])
    cut = min(2, second - 1)
    np.testing.assert_array_equal(dense(a.rows(cut, second - cut)), dense(a)[cut:])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("method", ["upper_bound_resize", "lower_bound_crop"])
@pytest.mark.parametrize("size", [(90, 61), (700, 500)], ids=["enlarged", "shrunk"])
def test_rotating_by_the_operators_equals_rotating_the_image_first(orientation, method, size):
    stored = photo(*size, 1)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    turned = run(stored, plan_resize(stored.shape[:2], 140, method, exif_orientation=orientation))
    expected_upright = run(upright, plan_resize(upright.shape[:2], 140, method))
    # Mirrored sums run in the other direction: a float32 rounding may tip a tie.
    assert largest_difference(turned, expected_upright) <= 1
    assert (turned != expected_upright).mean() < 1e-3


@pytest.mark.parametrize("size", [(40, 30), (500, 375), (300, 280)], ids=["enlarged", "shrunk", "two steps"])
def test_every_memory_layout_gives_the_same_image(size):
    rgb = photo(*size, 2)
    plan = plan_resize(rgb.shape[:2], 252)
    whole = run(rgb, plan)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    padded = np.zeros((size[1] + 4, size[0] + 6, 3), np.uint8)
    padded[2:-2, 3:-3] = rgb
    alpha = np.dstack([rgb, np.full(rgb.shape[:2], 77, np.uint8)])
    np.testing.assert_array_equal(run(bgr[..., ::-1], plan), whole)
    np.testing.assert_array_equal(run(padded[2:-2, 3:-3], plan), whole)
    np.testing.assert_array_equal(run(alpha, plan), whole)
    # The planar kernel sums in another order, so a rounding may tip.
    planar = run(np.ascontiguousarray(rgb.transpose(2, 0, 1)), plan, planar=True)
    assert largest_difference(planar, whole) <= 1
    assert (planar != whole).mean() < 1e-3
    grey = run(rgb[..., 0], plan)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    assert largest_difference(grey[..., 0], whole[..., 0]) <= 1


def test_exact_halving_rounds_ties_up_as_opencv_does():
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 256, (56, 56, 3), dtype=np.uint8)
    plan = plan_resize((56, 56), 28)
    np.testing.assert_array_equal(run(rgb, plan), cv2.resize(rgb, (28, 28), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("kind", ["nbi", "nbc"], ids=["index", "code"])
def test_damaged_machine_code_is_recompiled(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    source = tmp_path / "module.py"
    source.write_text("def twice(a):\n    a[0] *= 2\n")

    def loaded():
        spec = importlib.util.spec_from_file_location("module", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return jit(module.twice)

    for damage in (None, b"", b"\x15 no pickle", b"\x80\x04K"):
        for file in (tmp_path / "cache").rglob(f"*.{kind}") if damage is not None else ():
            file.write_bytes(damage)
        compiled, value = loaded(), np.ones(1)
        compiled(value)
        assert value[0] == 2
        assert sum(compiled.stats.cache_hits.values()) == 0
        again = loaded()
        again(value)
        assert sum(again.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("layout", ["colour", "grey", "planar", "rotated"])
def test_parts_on_several_cores_equal_the_whole(layout):
    pixels = photo(640, 300, 3)
    plan = plan_resize((300, 640), 140, "upper_bound_resize", exif_orientation=6 if layout == "rotated" else 1)
    pixels = {"grey": pixels[..., 1], "planar": pixels.transpose(2, 0, 1)}.get(layout, pixels)
    passes = compile_passes(resample_passes(plan))
    table, parts = normalized_levels(), []
    values = np.empty((3, *plan.result_hw), np.float32)

    def share(work, count):
        for part in reversed(range(count)):
            parts.append(part)
            work(part)

    planar = layout == "planar"
    found = resample(
        pixels, passes, planar=planar, normalization=Normalization(table, values), share=None if planar else share
    )
    np.testing.assert_array_equal(found, resample(pixels, passes, planar=planar))
    for channel in range(3):
        np.testing.assert_array_equal(values[channel], table[channel][found[channel]])
    assert len(parts) == (0 if planar or layout == "grey" else 8)
