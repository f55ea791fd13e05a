"""Below exact fidelity, frames are resampled from the planes of the decoder, close to the exact result."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import VideoReadError
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.pil_image import decoded_here
from depth_anything_3.inputs.resample.cpu import Normalization
from depth_anything_3.inputs.resample.normalize import normalized_levels
from depth_anything_3.inputs.resample.yuv import compile_planes, resample_planes
from depth_anything_3.inputs.video import Frame, open_source
from depth_anything_3.inputs.video.colors import measure_conversion
from depth_anything_3.inputs.video.convert import FrameConverter
from depth_anything_3.inputs.yuv_planes import YuvPlanes
from support.clips import write_clip
from support.gpu_processors import gpu_processor, strategies
from support.images import psnr

PIXELS = photo(538, 302, 3)
RES = 140
ODD = (71, 97)


def encoded(pixels=PIXELS, pixel_format="yuv420p", matrix=1, color_range=1):
    """A frame as a decoder gives it."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame = frame.reformat(format=pixel_format, dst_colorspace=matrix, dst_color_range=color_range)
    frame.colorspace, frame.color_range = matrix, color_range
    return frame


def planes_and_rgb(**coding):
    frame = encoded(**coding)
    convert = FrameConverter(frame, "a.mp4", None)
    planes = convert.planes(frame)
    assert planes is not None
    return planes, convert(frame)


def prepared(data, fidelity="high", **options):
    options = {"process_res": RES, **options}
    return ImagePreparer(PreprocessOptions(fidelity=fidelity, **options))(0, ImageSource("frame", data))


@pytest.fixture(scope="module")
def frame():
    return planes_and_rgb()


@pytest.mark.parametrize("color_range", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 5, 9], ids=["BT.709", "BT.601", "BT.2020"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12"])
def test_planes_reach_50_db_with_every_coding(pixel_format, matrix, color_range):
    planes, rgb = planes_and_rgb(pixel_format=pixel_format, matrix=matrix, color_range=color_range)
    exact = prepared(rgb, "exact")
    for fidelity in ("high", "fast"):
        result = prepared(planes, fidelity)
        assert psnr(result.pixels, exact.pixels) > 51
        assert np.abs(result.pixels.mean((1, 2)) - exact.pixels.mean((1, 2))).max() < 0.25  # no colour cast
    assert np.array_equal(planes.rgb, rgb)


@pytest.mark.parametrize(
    ("size_hw", "process_res", "method"),
    [
        pytest.param((302, 538), 504, "upper_bound_resize", id="hardly reduced"),
        pytest.param((302, 538), 140, "lower_bound_crop", id="crop"),
        pytest.param((302, 538), 294, "upper_bound_resize", id="second resize grows"),
        pytest.param((16, 240), 210, "upper_bound_resize", id="flat"),
    ],
)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_planes_reach_50_db_with_every_geometry(pixel_format, size_hw, process_res, method):
    planes, rgb = planes_and_rgb(pixels=photo(size_hw[1], size_hw[0], 5), pixel_format=pixel_format)
    how = {"process_res": process_res, "process_res_method": method}
    result, exact = prepared(planes, **how), prepared(rgb, "exact", **how)
    assert result.plan == exact.plan
    assert psnr(result.pixels, exact.pixels) > 50


@pytest.mark.parametrize("process_res", [538, 700], ids=["not resized", "enlarged"])
def test_frames_that_are_not_reduced_are_converted_first(frame, process_res):
    result, exact = (prepared(one, "fast", process_res=process_res) for one in frame)
    assert np.array_equal(result.pixels, exact.pixels)


def test_exact_fidelity_converts_first(frame):
    result, exact = (prepared(one, "exact") for one in frame)
    assert np.array_equal(result.pixels, exact.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_and_normalised_values_agree_in_every_orientation(frame, orientation):
    stored, _ = frame
    planes = YuvPlanes(**{**vars_of(stored), "orientation": orientation})
    plan = ImagePreparer(PreprocessOptions(process_res=RES, fidelity="fast")).open(0, ImageSource("frame", planes)).plan
    compiled = compile_planes(plan, planes.linear_rows)
    whole, table = resample_planes(planes, compiled), normalized_levels()
    normalization = Normalization(table, np.empty(whole.shape, np.float32))
    parts = resample_planes(
        planes, compiled, normalization=normalization, share=lambda run, count: [run(part) for part in range(count)]
    )
    assert np.array_equal(parts, whole)
    assert np.array_equal(normalization.values, np.stack([table[c][whole[c]] for c in range(3)]))


def vars_of(planes):
    names = ("stored_hw", "luma", "chroma", "colors", "linear_rows", "orientation", "convert")
    return {name: getattr(planes, name) for name in names}


ROTATIONS = [pytest.param({"rotation": degrees}, id=f"{degrees} degrees") for degrees in (0, 90, 180, -90)]


@pytest.mark.parametrize("how", ROTATIONS)
@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_rotated_frames_are_upright(tmp_path, how, exif):
    path = write_clip(tmp_path / "a.mp4", 2, **how)
    with open_source(path) as exact, open_source(path, fidelity="high") as high:
        for before, frame in zip(exact, high, strict=True):
            assert isinstance(frame.data, YuvPlanes)
            result, expected = (prepared(one.data, process_res=70, exif=exif) for one in (frame, before))
            assert result.plan.source_hw == expected.plan.source_hw == before.image.shape[:2]
            assert psnr(result.pixels, expected.pixels) > 50
            assert "rgb" not in vars(frame.data)  # not converted so far
            assert np.array_equal(frame.image, before.image)
            assert frame.image is frame.image


MIRRORED = {(-1, 0, 0, 1): 2, (1, 0, 0, -1): 4, (0, 1, 1, 0): 5, (0, -1, -1, 0): 7}


@pytest.mark.parametrize("matrix", MIRRORED)
def test_mirrored_frames_are_upright(matrix, monkeypatch):
    frame = encoded()
    convert = FrameConverter(frame, "a.mp4", None)
    monkeypatch.setattr(convert, "_display_matrix", lambda frame: matrix)
    planes = convert.planes(frame)
    assert planes is not None
    assert planes.orientation == MIRRORED[matrix]
    assert psnr(prepared(planes).pixels, prepared(convert(frame), "exact").pixels) > 50


OTHERS = [
    pytest.param({"codec": "ffv1", "pixel_format": "yuv420p", "size_hw": ODD}, id="odd size"),
    pytest.param({"codec": "ffv1", "pixel_format": "yuv444p"}, id="4:4:4"),
    pytest.param({"codec": "ffv1", "pixel_format": "yuv422p"}, id="4:2:2"),
    pytest.param({"codec": "ffv1", "pixel_format": "yuv420p10le"}, id="10 bits"),
    pytest.param({"codec": "ffv1", "pixel_format": "gray"}, id="grey"),
    pytest.param({"pixel_ratio": Fraction(4, 3)}, id="pixels that are not square"),
]


@pytest.mark.parametrize("how", OTHERS)
def test_other_frames_are_converted_as_before(tmp_path, how):
    path = write_clip(tmp_path / "a.mkv", 1, **how)
    (exact,), (fast,) = open_source(path), open_source(path, fidelity="fast")
    assert np.array_equal(fast.data, exact.data)


def test_planes_are_not_copied_and_outlive_the_file(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 12)
    with open_source(path) as source:
        expected = [frame.image for frame in source]
    with open_source(path, fidelity="fast") as source:
        frames = list(source)
    assert not any(frame.data.luma.flags.owndata for frame in frames)
    assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, expected, strict=True))
    assert repr(frames[3]) == "Frame(72x96 YUV, time=0.1, index=3)"


def test_the_default_is_exact(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 1)
    assert [type(frame.data) for frame in open_source(path)] == [np.ndarray]


def test_a_conversion_of_another_kind_is_not_imitated():
    frame = encoded()
    smooth = SimpleNamespace(reformat=lambda test, format: test.reformat(format=format, width=32, height=32))
    blurred = SimpleNamespace(
        reformat=lambda test, format: smooth.reformat(test, format).reformat(format=format, width=64, height=64)
    )
    assert measure_conversion(frame, blurred) is None


def test_colours_that_cannot_be_converted_are_an_error_of_the_frame():
    def fail():
        raise VideoReadError("a.mp4: colours cannot be converted")

    planes = YuvPlanes.black((28, 28))
    failing = YuvPlanes(**{**vars_of(planes), "convert": fail})
    with pytest.raises(VideoReadError, match="cannot be converted"):
        prepared(failing, "exact")
    sent = decoded_here(ImageSource("frame", failing), 0, allow_truncated=False)
    assert isinstance(sent.data, VideoReadError)


def test_worker_processes_get_pixels(frame):
    planes, rgb = frame
    source = Frame(planes, 0.0, 0, 0.0).as_source()
    assert np.array_equal(decoded_here(source, 0, allow_truncated=False).data, rgb)


def test_strategies_for_a_gpu_agree_with_those_for_the_cpu(frame):
    planes, rgb = frame
    source = Frame(planes, 0.0, 0, 0.0).as_input()
    with gpu_processor() as processor:
        hybrid, full = (
            processor([source], process_res=RES, fidelity="high", strategy=strategy, num_workers=1)
            for strategy in ("auto", "full_gpu")
        )
        exact = processor([rgb], process_res=RES, strategy="full_gpu", num_workers=1)
    assert [one.value for one in strategies(hybrid) + strategies(full)] == ["hybrid", "full_gpu"]
    assert np.array_equal(hybrid.pixels[0], prepared(planes).pixels)
    assert np.array_equal(full.pixels, exact.pixels)
