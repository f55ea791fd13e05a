"""Resampling on a device against the CPU kernel and the reference; the Triton kernels run in Triton's interpreter."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import ImageSizeError, UnsupportedError
from depth_anything_3.inputs.choices import ProcessResMethod
from depth_anything_3.inputs.plan.banded_operator import BandedOperator, resample_passes
from depth_anything_3.inputs.plan.resize_plan import ResizePlan, plan_resize
from depth_anything_3.inputs.resample import gpu
from depth_anything_3.inputs.resample.cpu import compile_passes, resample, resample_stepwise
from depth_anything_3.inputs.resample.gpu import GPUResampler, available_resamplers, open_resampler
from depth_anything_3.inputs.resample.layout import ImageLayout, chunked_columns, grouped_rows
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels
from depth_anything_3.inputs.resample.torch_resampler import TorchResampler, rounding
from depth_anything_3.runtime.device_errors import out_of_memory
from support.images import largest_difference, psnr

CPU = torch.device("cpu")
METHODS = [method.value for method in ProcessResMethod]
KERNEL_MODULES = (
    "depth_anything_3.inputs.resample.triton_resampler",
    "depth_anything_3.inputs.resample.triton_kernels",
)

CASES = {
    "shrunk twice": (150, 101, 56, "upper_bound_resize"),
    "shrunk and enlarged a little": (149, 91, 56, "upper_bound_resize"),
    "bounded below": (97, 131, 42, "lower_bound_resize"),
    "bounded below, cropped": (131, 97, 56, "lower_bound_crop"),
    "cropped": (157, 110, 56, "upper_bound_crop"),
    "2 by 2": (112, 84, 56, "upper_bound_resize"),
    "3 by 3": (168, 126, 56, "upper_bound_resize"),
    "8 by 8": (448, 224, 56, "upper_bound_resize"),
    "enlarged": (28, 21, 56, "upper_bound_resize"),
    "enlarged, cropped": (35, 24, 56, "upper_bound_crop"),
    "enlarged, then fitted": (31, 20, 56, "upper_bound_resize"),
    "as it is": (56, 42, 56, "upper_bound_resize"),
    "more than one block of columns": (1100, 220, 70, "upper_bound_resize"),
}


def let_scalars_be_numbers(interpreter) -> None:
    """Let numpy 2.5 or newer run loops in the interpreter of Triton before 3.9, whose scalars are arrays of one."""
    patch_tensors = interpreter._patch_lang_tensor

    def patch(tensor, scope):
        patch_tensors(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.reshape(())))

    interpreter._patch_lang_tensor = patch


@pytest.fixture(scope="module")
def triton_resampler() -> Iterator[GPUResampler]:
    """The Triton resampler on the CPU.

    Triton decides on import whether its own functions and ours are compiled or interpreted, so both are imported afresh
    and put back afterwards; only the compiled part of Triton stays, which cannot be loaded twice.
    """
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")

    def take_out() -> dict[str, object]:
        names = [name for name in sys.modules if name.split(".")[0] == "triton" and not name.startswith("triton._C")]
        names += [name for name in KERNEL_MODULES if name in sys.modules]
        return {name: sys.modules.pop(name) for name in names}

    before = take_out()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        module = importlib.import_module(KERNEL_MODULES[0])
        let_scalars_be_numbers(importlib.import_module("triton.runtime.interpreter"))
        yield module.TritonResampler(CPU)
    # Stored under another name: modules that Python does not clear at its end make nanobind list all it has as leaked.
    sys.modules.update({f"interpreted.{name}": module for name, module in take_out().items()})
    sys.modules.update(before)


@pytest.fixture(params=["torch", "triton"])
def resampler(request: pytest.FixtureRequest) -> GPUResampler:
    return TorchResampler(CPU) if request.param == "torch" else request.getfixturevalue("triton_resampler")


def on_cpu(stored: np.ndarray, plan: ResizePlan) -> np.ndarray:
    return resample(stored, compile_passes(resample_passes(plan)))


def run(resampler: GPUResampler, image: torch.Tensor, plan: ResizePlan) -> np.ndarray:
    """(3, height, width)."""
    pixels = torch.zeros((1, 3, *plan.result_hw), dtype=torch.uint8)
    resampler([image], plan, [0], pixels, None)
    return pixels[0].numpy()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pixels_are_those_of_the_cpu_kernel_and_of_the_reference(resampler, case):
    width, height, process_res, method = case
    rgb = photo(width, height, 3)
    right = rgb[:, width // 2 :]
    right[:] = np.random.default_rng(4).integers(0, 2, right.shape, dtype=np.uint8) * np.uint8(255)  # overshoots most
    plan = plan_resize(rgb.shape[:2], process_res, method)
    result = run(resampler, torch.from_numpy(rgb), plan)
    same = on_cpu(rgb, plan)
    assert largest_difference(result, same) <= 1
    # Measured: 0.3 % at most, where the exact result is a tie or nearly so (every 36th sample, of black and white).
    assert (result != same).mean() <= 0.006
    stepwise = resample_stepwise(rgb, plan).transpose(2, 0, 1)
    assert largest_difference(result, stepwise) <= 1
    assert psnr(result, stepwise) >= 54


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("method", ["upper_bound_resize", "lower_bound_crop"])
def test_every_orientation_becomes_upright(resampler, orientation, method):
    stored = photo(75, 50, 1)
    plan = plan_resize(stored.shape[:2], 28, method, exif_orientation=orientation)
    result = run(resampler, torch.from_numpy(stored), plan)
    same = on_cpu(stored, plan)
    assert largest_difference(result, same) <= 1
    assert (result != same).mean() <= 0.01


def strided(rgb: np.ndarray) -> dict[str, torch.Tensor]:
    """Views of one image in the layouts that decoders and frames come in."""
    height, width, _ = rgb.shape
    image = torch.from_numpy(rgb)
    padded = torch.zeros((height + 3, width + 5, 3), dtype=torch.uint8)
    padded[1:-2, 2:-3] = image
    four = torch.full((height, width, 4), 9, dtype=torch.uint8)
    four[..., :3] = image
    shifted = torch.full((height, width, 4), 9, dtype=torch.uint8)
    shifted[..., 1:] = image
    return {
        "planar": image.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "cut out": padded[1:-2, 2:-3],
        "four channels": four[..., :3],
        "four channels, the first unused": shifted[..., 1:],
        "every second pixel": image.repeat_interleave(2, dim=1)[:, ::2],
        "columns first": image.transpose(0, 1).contiguous().transpose(0, 1),
        "from BGR": image.flip(2).contiguous().flip(2),
    }


@pytest.mark.parametrize("size", [(48, 32), (45, 27)], ids=["aligned", "odd"])
def test_every_memory_layout_gives_the_same_image(resampler, size):
    rgb = photo(*size, 2)
    plan = plan_resize(rgb.shape[:2], 28)
    whole = run(resampler, torch.from_numpy(rgb), plan)
    for layout, image in strided(rgb).items():
        np.testing.assert_array_equal(run(resampler, image, plan), whole, err_msg=layout)


def test_grey_is_repeated(resampler):
    grey = np.ascontiguousarray(photo(69, 43, 2)[..., 0])
    plan = plan_resize(grey.shape, 28)
    result = run(resampler, torch.from_numpy(grey)[..., None].expand(-1, -1, 3), plan)
    whole = run(resampler, torch.from_numpy(np.dstack([grey] * 3)), plan)
    np.testing.assert_array_equal(result, whole)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)], ids=["one pixel", "one column", "one row"])
def test_the_smallest_images_are_resampled(resampler, size):
    rgb = photo(*size, 6)
    plan = plan_resize(rgb.shape[:2], 14, "lower_bound_resize")
    assert largest_difference(run(resampler, torch.from_numpy(rgb), plan), on_cpu(rgb, plan)) <= 1


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        pytest.param(torch.float32, (64, 48), id="float32-one pass"),
        pytest.param(torch.float32, (23, 16), id="float32-two passes"),
        pytest.param(torch.bfloat16, (23, 16), id="bfloat16-two passes"),
        pytest.param(torch.float16, (64, 48), id="float16-one pass"),
    ],
)
def test_a_batch_is_written_to_its_slots_and_nowhere_else(resampler, dtype, size):
    rgbs = [photo(*size, seed) for seed in range(3)]
    images = [torch.from_numpy(rgb) for rgb in rgbs]
    images[2] = strided(rgbs[2])["planar"]  # a batch may mix layouts
    plan = plan_resize(rgbs[0].shape[:2], 28)
    slots = [4, 0, 2]
    pixels = torch.full((5, 3, *plan.result_hw), 77, dtype=torch.uint8)
    normalized = torch.full(pixels.shape, 7.0, dtype=dtype)
    resampler(images, plan, slots, pixels, normalized)

    levels = normalized_levels()
    for slot, rgb in zip(slots, rgbs, strict=True):
        assert largest_difference(pixels[slot].numpy(), on_cpu(rgb, plan)) <= 1
        check_normalized(normalized[slot], torch.from_numpy(normalize(pixels[slot].numpy(), levels)))
    for slot in (1, 3):
        assert (pixels[slot] == 77).all()
        assert (normalized[slot] == 7.0).all()


def check_normalized(values: torch.Tensor, exact: torch.Tensor) -> None:
    if values.dtype == torch.float32:
        np.testing.assert_allclose(values.numpy(), exact.numpy(), rtol=0, atol=5e-7)
    else:
        assert torch.equal(values, exact.to(values.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_pixels_already_on_the_device_are_normalised(resampler, dtype):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 42, 56), dtype=np.uint8))
    normalized = torch.full(pixels.shape, 7.0, dtype=dtype)
    resampler.normalize(pixels, [3, 0], normalized)
    for slot in (0, 3):
        exact = torch.from_numpy(normalize(pixels[slot].numpy(), normalized_levels()))
        check_normalized(normalized[slot], exact)
    assert (normalized[[1, 2, 4]] == 7.0).all()


def test_a_batch_larger_than_the_scratch_memory_is_split(triton_resampler, monkeypatch):
    rgbs = [photo(64, 48, seed) for seed in range(3)]
    plan = plan_resize(rgbs[0].shape[:2], 28)
    monkeypatch.setattr(sys.modules[KERNEL_MODULES[0]], "_SCRATCH_BYTES", 1)
    pixels = torch.zeros((3, 3, *plan.result_hw), dtype=torch.uint8)
    triton_resampler([torch.from_numpy(rgb) for rgb in rgbs], plan, [0, 1, 2], pixels, None)
    for result, rgb in zip(pixels.numpy(), rgbs, strict=True):
        assert largest_difference(result, on_cpu(rgb, plan)) <= 1


@settings(max_examples=60)
@given(
    st.integers(1, 700), st.integers(1, 700), st.integers(14, 200), st.sampled_from(METHODS), st.integers(1, 8),
    st.booleans(),
)  # fmt: skip
@example(15, 14, 300, "upper_bound_resize", 1, True)
def test_torch_is_within_one_level_of_the_cpu_kernel(width, height, process_res, method, orientation, hard):
    try:
        plan = plan_resize((height, width), process_res, method, exif_orientation=orientation)
    except ImageSizeError:
        return
    rgb = photo(width, height, 0)
    if hard:
        rgb = np.random.default_rng(width).integers(0, 2, rgb.shape, dtype=np.uint8) * np.uint8(255)
    assert largest_difference(run(TorchResampler(CPU), torch.from_numpy(rgb), plan), on_cpu(rgb, plan)) <= 1


@settings(max_examples=80)
@given(st.integers(1, 300), st.integers(1, 90), st.booleans(), st.booleans(), st.sampled_from([2, 4]))
def test_grouped_and_chunked_operators_are_the_operator(source, result, cubic, mirrored, size):
    operator = (BandedOperator.cubic if cubic or result > source else BandedOperator.area)(source, result)
    operator = operator.reversed() if mirrored else operator
    chunk, align = 16, 4
    room = 2 * source + 2 * chunk
    dense = np.zeros((result, room))
    for row, (start, count) in enumerate(zip(operator.start, operator.count, strict=True)):
        dense[row, start : start + count] = operator.weights[row, :count]

    first, count, weights = grouped_rows(operator, size)
    from_groups = np.zeros((len(first) * size, room))
    for group, (start, rows) in enumerate(zip(first, count, strict=True)):
        from_groups[group * size : group * size + size, start : start + rows] = weights[group, :rows].T
        assert not weights[group, rows:].any()
        assert start + rows <= source
    np.testing.assert_array_equal(from_groups[:result], dense.astype(np.float32))
    assert not from_groups[result:].any()

    first, wide = chunked_columns(operator, align, chunk)
    from_columns = np.zeros((result, room))
    for column, start in enumerate(first):
        from_columns[column, start * align : start * align + wide.shape[1]] = wide[column]
    assert wide.shape[1] % chunk == 0
    np.testing.assert_array_equal(from_columns, dense)


def test_layouts_say_how_far_loads_are_aligned():
    def layout(width: int, channels: int = 3) -> ImageLayout | None:
        return ImageLayout.of(torch.zeros((4, width, channels), dtype=torch.uint8)[..., :3])

    assert layout(64) == ImageLayout(step=3, row_step=192, plane_step=0, width=64, align=16)
    assert layout(20) == ImageLayout(step=3, row_step=60, plane_step=0, width=20, align=4)
    assert layout(21) == ImageLayout(step=3, row_step=63, plane_step=0, width=21, align=1)
    assert layout(64, channels=4) == ImageLayout(step=4, row_step=256, plane_step=0, width=64, align=16)
    assert layout(64, channels=5) is None


def test_resamplers_are_opened_by_name():
    assert available_resamplers(CPU) == ("torch",)
    assert available_resamplers(torch.device("mps")) == ("torch",)
    assert open_resampler("torch", CPU).name == "torch"
    for name in ("triton", "nearest"):
        with pytest.raises(UnsupportedError, match="torch"):
            open_resampler(name, CPU)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("method", ["upper_bound_resize", "upper_bound_crop"])
def test_kornia_resembles_the_reference(orientation, method):
    pytest.importorskip("kornia")
    stored = photo(157, 110, 3)
    plan = plan_resize(stored.shape[:2], 56, method, exif_orientation=orientation)
    pixels = torch.zeros((2, 3, *plan.result_hw), dtype=torch.uint8)
    normalized = torch.zeros(pixels.shape)
    resampler = open_resampler("kornia", CPU)
    resampler([torch.from_numpy(stored)], plan, [1], pixels, normalized)
    assert 20 < psnr(pixels[1].numpy(), on_cpu(stored, plan)) < 50
    check_normalized(normalized[1], torch.from_numpy(normalize(pixels[1].numpy(), normalized_levels())))
    again = torch.zeros(pixels.shape)
    resampler.normalize(pixels, [1], again)
    assert torch.equal(normalized, again)


@pytest.mark.parametrize(
    ("failures", "runs"),
    [
        pytest.param([], True, id="runs"),
        pytest.param([RuntimeError("Triton Error [CUDA]: out of memory")], True, id="short of memory for a moment"),
        pytest.param([torch.OutOfMemoryError("CUDA out of memory")] * 2, False, id="no memory"),
        pytest.param([RuntimeError("Failed to find C compiler")], False, id="no compiler"),
    ],
)
def test_a_passing_shortage_of_memory_does_not_exclude_triton(monkeypatch, failures, runs):
    left, emptied = list(failures), []

    def run(resampler, device):
        if left:
            raise left.pop(0)

    monkeypatch.setattr(gpu, "_run_triton", run)
    monkeypatch.setattr(gpu, "empty_cache", emptied.append)
    assert gpu._triton_runs(torch.device("cuda")) is runs
    assert left == []
    assert len(emptied) == (len(failures) > 0 and out_of_memory(failures[0]))


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_levels_are_rounded_half_to_even_on_every_device(device):
    """`round_` of torch before 2.9 rounds ties away from zero on MPS."""
    values = np.arange(0, 255.5, 0.5, dtype=np.float32)
    near = [np.nextafter(values, np.float32(limit)) for limit in (0, 255)]
    values = np.concatenate([values, *near, np.random.default_rng(0).uniform(0, 255, 100_000).astype(np.float32)])
    rounded = rounding(torch.device(device))(torch.from_numpy(values.copy()))
    np.testing.assert_array_equal(rounded.numpy(), np.rint(values))


def test_mps_does_not_use_torchs_rounding(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "round_", lambda levels: levels.add_(0.5).floor_())  # as on MPS
    assert rounding(torch.device("mps"))(torch.tensor([0.5, 1.5, 2.5])).tolist() == [0, 2, 2]
    assert rounding(torch.device("cpu")) is torch.Tensor.round_
