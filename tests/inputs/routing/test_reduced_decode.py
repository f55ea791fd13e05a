"""JPEGs decoded at reduced size neither shift nor blur more than allowed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.choices import Fidelity
from depth_anything_3.inputs.header import ImageHeader, JpegCoding, JpegProcess, probe
from depth_anything_3.inputs.plan.banded_operator import BandedOperator
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.routing.reduced_decode import choose_reduction
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.images import encoded, exif_block, jpeg, largest_difference, psnr, write

MIN_DB = {"high": 50.0, "fast": 44.0}


@pytest.fixture(scope="module")
def processor():
    with InputProcessor() as processor:
        yield processor


# The operator


def applied(operator, samples):
    rows = [samples[start : start + count] @ w[:count] for start, count, w in zip(operator.start, operator.count, operator.weights, strict=True)]  # fmt: skip  # noqa: E501
    return np.array(rows)


def means(samples, cell):
    return np.array([samples[start : start + cell].mean() for start in range(0, len(samples), cell)])


sizes = st.tuples(st.integers(20, 400), st.sampled_from([2, 4, 8]), st.floats(1.3, 6.0)).map(
    lambda one: (one[0] * one[1] // 2 + 30, one[1], one[2])
)


@given(sizes)
def test_a_flat_image_stays_flat(size):
    source, cell, ratio = size
    operator = BandedOperator.area_of_means(source, max(1, int(source / cell / ratio)), cell)
    np.testing.assert_allclose(applied(operator, np.ones(-(-source // cell))), 1.0, atol=1e-9)


@given(sizes)
def test_gradients_and_parabolas_do_not_shift(size):
    """Away from the ends, where cells are mirrored, the cubic meets the running integral of both exactly."""
    source, cell, ratio = size
    result = max(1, int(source / cell / ratio))
    ends = np.linspace(0, source, result + 1)
    inner = slice(2, -3)
    operator = BandedOperator.area_of_means(source, result, cell)
    middle = np.arange(source) + 0.5
    for samples, integral in ((middle, ends**2 / 2), (middle**2, ends**3 / 3 - ends / 12)):
        exact = np.diff(integral) / np.diff(ends)
        np.testing.assert_allclose(applied(operator, means(samples, cell))[inner], exact[inner], rtol=1e-9)


def test_means_of_complete_cells_are_exact():
    operator = BandedOperator.area_of_means(4032, 504, 4)
    assert set(operator.count) == {2}
    np.testing.assert_allclose(operator.weights, 0.5, atol=1e-12)


@given(sizes)
def test_mirroring_the_axis_mirrors_the_operator(size):
    source, cell, ratio = size
    result = max(1, int(source / cell / ratio))
    samples = np.random.default_rng(0).random(-(-source // cell))
    operator = BandedOperator.area_of_means(source, result, cell)
    np.testing.assert_allclose(applied(operator.mirrored(), samples[::-1]), applied(operator, samples)[::-1])


# The rule


def header(size, **options):
    small = probe(jpeg(64, 48, **options), "x")
    return ImageHeader("JPEG", (size[1], size[0]), 1, small.jpeg)


@pytest.mark.parametrize("sampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize(
    ("size", "high", "fast"),
    [
        ((640, 480), 1, 1),
        ((1280, 720), 1, 1),
        ((1920, 1080), 1, 2),
        ((2560, 1440), 2, 2),
        ((3840, 2160), 2, 4),
        ((4032, 3024), 8, 8),  # a whole multiple
        ((7680, 4320), 4, 4),
    ],
)
def test_the_largest_reduction_that_a_fidelity_allows(size, high, fast, sampling):
    plan = plan_resize((size[1], size[0]))
    found = [choose_reduction(header(size, subsampling=sampling), plan, fidelity) for fidelity in Fidelity]
    assert found == [1, high, fast]


@pytest.mark.parametrize(
    ("data", "factor"),
    [
        pytest.param(jpeg(64, 48, subsampling="4:2:2"), 2, id="4:2:2"),
        pytest.param(jpeg(64, 48, progressive=True), 4, id="progressive"),
        pytest.param(encoded(Image.new("L", (64, 48))), 4, id="grey"),
        pytest.param(encoded(Image.new("CMYK", (64, 48))), 1, id="CMYK"),
    ],
)
def test_kinds_of_jpeg(data, factor):
    large = ImageHeader("JPEG", (2160, 3840), 1, probe(data, "x").jpeg)
    assert choose_reduction(large, plan_resize((2160, 3840)), Fidelity.FAST) == factor


@pytest.mark.parametrize("sampling", [((4, 1), (1, 1), (1, 1)), ((1, 2), (1, 1), (1, 1)), ((2, 2), (2, 1), (1, 1))])
def test_chroma_that_was_not_measured_is_decoded_in_full(sampling):
    coding = JpegCoding(JpegProcess.BASELINE, 8, sampling)
    large = ImageHeader("JPEG", (2160, 3840), 1, coding)
    assert choose_reduction(large, plan_resize((2160, 3840)), Fidelity.FAST) == 1


def test_other_files_and_enlarged_images_are_decoded_in_full():
    png = ImageHeader("PNG", (2160, 3840), 1)
    assert choose_reduction(png, plan_resize((2160, 3840)), Fidelity.FAST) == 1
    assert choose_reduction(header((300, 200)), plan_resize((200, 300)), Fidelity.FAST) == 1
    assert choose_reduction(header((504, 378)), plan_resize((378, 504)), Fidelity.FAST) == 1


# End to end


@pytest.mark.parametrize("sampling", ["4:2:0", "4:4:4", "4:2:2"])
@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (1501, 1003), (1122, 1499)])
@pytest.mark.parametrize("process_res", [140, 196, 252])
def test_photos_are_as_close_as_promised(processor, width, height, sampling, process_res):
    file = jpeg(width, height, 3, quality=90, subsampling=sampling)
    exact = processor([file], process_res=process_res).pixels.numpy()
    for fidelity, least in MIN_DB.items():
        batch = processor([file], process_res=process_res, fidelity=fidelity)
        assert batch.pixels.shape == exact.shape
        if batch.images[0].plan.reduced_by > 1:
            assert psnr(batch.pixels.numpy(), exact) >= least
        else:
            assert largest_difference(batch.pixels.numpy(), exact) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_image_with_odd_sides_does_not_shift(processor, orientation):
    """Blurred edges, whose position is the difference over the slope: a shift by a pixel would give 1."""
    y, x = np.mgrid[0:997, 0:1331]
    waves = 127.5 + 60 * np.sin(x / 37.0) * np.cos(y / 29.0) + 50 * np.tanh(((x * 3 + y * 2) % 400 - 200) / 15.0)
    file = encoded(np.repeat(waves.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), quality=95, exif=exif_block(orientation))  # fmt: skip  # noqa: E501
    exact = processor([file], process_res=126).pixels[0, 1].numpy().astype(float)
    batch = processor([file], process_res=126, fidelity="fast")
    assert batch.images[0].plan.reduced_by == 4
    difference = batch.pixels[0, 1].numpy() - exact
    for slope in np.gradient(exact):
        assert abs((difference * slope).sum() / (slope**2).sum()) < 0.02


def test_every_strategy_decodes_the_reduced_image_alike(processor, tmp_path):
    files = [write(tmp_path / "a.jpg", jpeg(1331, 997, 1, exif=exif_block(6))), jpeg(997, 1331, 2)]
    expected = processor(files, process_res=126, fidelity="fast").pixels.numpy()
    capabilities = Capabilities("cuda", "stand-in")
    with GPUInputProcessor("cpu", capabilities=capabilities) as on_gpu:
        for strategy in ("hybrid", "full_gpu", "cpu"):
            batch = on_gpu(files, process_res=126, fidelity="fast", strategy=strategy)
            assert largest_difference(batch.pixels.numpy(), expected) <= 1
            assert {one.plan.reduced_by for one in batch.images} == {4}
    with InputProcessor() as processes:
        found = processes(files, process_res=126, fidelity="fast", num_workers=1, executor="process").pixels.numpy()
    assert largest_difference(found, expected) == 0


def test_intrinsics_do_not_depend_on_fidelity(processor):
    camera = np.array([[[900.0, 0, 665], [0, 905, 498], [0, 0, 1]]])
    exact, fast = (processor([jpeg(1331, 997)], None, camera, 126, fidelity=one) for one in ("exact", "fast"))
    np.testing.assert_array_equal(exact.intrinsics, fast.intrinsics)


def test_a_truncated_file_is_an_error_at_every_fidelity(processor):
    cut = jpeg(1331, 997)[:20000]
    messages = []
    for fidelity in ("exact", "fast"):
        with pytest.raises(ImageDecodeError, match="truncated") as raised:
            processor([cut], process_res=126, fidelity=fidelity)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_details_of_a_photo_do_not_shift(processor):
    image = photo(1600, 1200, 5)
    exact = processor([encoded(image, quality=95)], process_res=140).pixels[0].numpy().astype(float)
    fast = processor([encoded(image, quality=95)], process_res=140, fidelity="fast").pixels[0].numpy() - exact
    for slope in np.gradient(exact, axis=(1, 2)):
        assert abs((fast * slope).sum() / (slope**2).sum()) < 0.02
